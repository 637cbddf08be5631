"""Two right answers to each exercise of lesson 04, written as the references are not.

This file is also handed in as a cell of a notebook, so it imports nothing of the course.
"""

import math

import torch


def toy_value(theta, w, x, y):
    return torch.mean((torch.tanh(x * theta) @ (1 / (1 + torch.exp(-w))) - y) ** 2)


def step_by_loops(theta, w, x, y, lr):
    theta, mask, x, y = theta.tolist(), torch.sigmoid(w).tolist(), x.tolist(), y.tolist()
    after = []
    for i in range(len(theta)):
        slope = 0.0
        for row, target in zip(x, y, strict=True):
            h = [math.tanh(t * r) for t, r in zip(theta, row, strict=True)]
            residual = sum(m * one for m, one in zip(mask, h, strict=True)) - target
            slope += 2 * residual * mask[i] * (1 - h[i] ** 2) * row[i] / len(y)
        after.append(theta[i] - lr * slope)
    return torch.tensor(after)


def step_by_autograd(theta, w, x, y, lr):
    theta = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(toy_value(theta, w, x, y), theta)
    return (theta - lr * gradient).detach()


def meta_by_double_backward(theta, w, x, y, outer_x, outer_y, lr):
    theta, w = theta.clone().requires_grad_(), w.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(toy_value(theta, w, x, y), theta, create_graph=True)
    return torch.autograd.grad(toy_value(theta - lr * gradient, w, outer_x, outer_y), w)[0]


def meta_by_func(theta, w, x, y, outer_x, outer_y, lr):
    def after(w):
        return toy_value(
            theta - lr * torch.func.grad(toy_value)(theta, w, x, y), w, outer_x, outer_y
        )

    return torch.func.grad(after)(w)


def difference_by_autograd(theta, w, x, y, v, step):
    ends = []
    for sign in (1, -1):
        logits = w.clone().requires_grad_()
        moved = theta + sign * step * v / v.square().sum().sqrt()
        ends.append(torch.autograd.grad(toy_value(moved, logits, x, y), logits)[0])
    return (ends[0] - ends[1]) * v.square().sum().sqrt() / (2 * step)


def difference_on_the_way_back(theta, w, x, y, v, step):
    direction = -v * (step / torch.linalg.vector_norm(v))
    of_w = torch.func.grad(toy_value, argnums=1)
    change = of_w(theta - direction, w, x, y) - of_w(theta + direction, w, x, y)
    return change / 2 / step * torch.linalg.vector_norm(v)


def composed_loss(theta, w, x, weight):
    u = (torch.tanh(x * theta) * torch.sigmoid(w)) @ weight.T
    u = (u - u.mean(0)) / (u.var(0, unbiased=False) + 1e-5).sqrt()
    return (torch.tanh(u) ** 3).mean()


def mixed_by_reverse_over_forward_of_elementary_operations(theta, w, x, weight, v):
    def along(w):
        return torch.func.jvp(lambda theta: composed_loss(theta, w, x, weight), (theta,), (v,))[1]

    return torch.func.grad(along)(w)


def mixed_by_double_backward(theta, w, x, weight, v):
    theta, w = theta.clone().requires_grad_(), w.clone().requires_grad_()
    (g,) = torch.autograd.grad(composed_loss(theta, w, x, weight), theta, create_graph=True)
    return torch.autograd.grad((g * v).sum(), w)[0]


def judged_by_coins(x, y, generator):
    coin = (2 * torch.randint(0, 2, y.shape, generator=generator) - 1).to(x)
    return torch.stack([x[:, 0], coin * x[:, 1].abs()], 1), y


def judged_by_both(x, y, generator):
    turned = x * torch.tensor([1.0, -1.0], device=x.device)  # once as it is, once the other way
    return torch.cat([x, turned]), torch.cat([y, y])


RIGHT = {
    "04.1": [
        lambda h, w, weight: h @ (weight / (1 + torch.exp(-w))).T,
        lambda h, w, weight: torch.einsum("nd,d,pd->np", h, torch.sigmoid(w), weight),
    ],
    "04.2": [step_by_loops, step_by_autograd],
    "04.3": [meta_by_double_backward, meta_by_func],
    "04.4": [judged_by_coins, judged_by_both],
    "04.5": [difference_by_autograd, difference_on_the_way_back],
    "04.6": [mixed_by_reverse_over_forward_of_elementary_operations, mixed_by_double_backward],
}
