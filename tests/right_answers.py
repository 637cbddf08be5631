"""Two right answers to each exercise, written as the references are not.

This file is also handed in as a cell of a notebook, so it imports nothing of the course.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F


def cosine_by_loops(a, b):
    rows = [[F.cosine_similarity(x, y, dim=0) for y in b] for x in a]
    return torch.stack([torch.stack(row) for row in rows])


def cosine_by_einsum(a, b):
    return torch.einsum("np,mp->nm", a, b) / a.norm(dim=1)[:, None] / b.norm(dim=1)


def vote_by_loops(similarity, labels, classes, temperature):
    winners = []
    for s, voted in zip(similarity.tolist(), labels.tolist(), strict=True):
        votes = [0.0] * classes
        for value, label in zip(s, voted, strict=True):
            votes[label] += math.exp(value / temperature)
        winners.append(votes.index(max(votes)))
    return torch.tensor(winners)


def vote_by_softmax(similarity, labels, classes, temperature):
    weight = torch.softmax(similarity / temperature, 1)
    return torch.einsum("mk,mkc->mc", weight, F.one_hot(labels, classes).float()).argmax(1)


def views_by_gather(images, generator):
    n, c, h, w = images.shape

    def view():
        down = torch.randint(-3, 4, (n, 1, 1, 1), generator=generator)
        right = torch.randint(-3, 4, (n, 1, 1, 1), generator=generator)
        rows = torch.arange(h).view(1, 1, h, 1) + down
        columns = torch.arange(w).view(1, 1, 1, w) + right
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        picked = images[
            torch.arange(n).view(n, 1, 1, 1),
            torch.arange(c).view(1, c, 1, 1),
            rows.clamp(0, h - 1),
            columns.clamp(0, w - 1),
        ]
        picked = picked * inside
        flip = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
        return torch.where(flip, picked.flip(3), picked)

    return view(), view()


def views_flipped_first(images, generator):
    def one(image):
        if torch.rand((), generator=generator) < 0.5:
            image = image.flip(-1)
        top, left = torch.randint(0, 7, (2,), generator=generator)
        padded = F.pad(image, (3, 3, 3, 3))
        return padded[:, top : top + image.shape[1], left : left + image.shape[2]]

    pairs = [(one(image), one(image)) for image in images]
    return [torch.stack(views) for views in zip(*pairs, strict=True)]


def nt_xent_by_loops(z1, z2, temperature):
    z, n = torch.cat([z1, z2]), len(z1)
    losses = []
    for i in range(2 * n):
        s = F.cosine_similarity(z[i][None], z) / temperature
        others = torch.cat([s[:i], s[i + 1 :]])
        losses.append(others.logsumexp(0) - s[(i + n) % (2 * n)])
    return sum(losses) / (2 * n)


def nt_xent_in_blocks(z1, z2, temperature):
    u1, u2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    away = torch.diag(torch.full((len(z1),), torch.inf))
    cross = u1 @ u2.T / temperature
    first = torch.cat([cross, u1 @ u1.T / temperature - away], 1)
    second = torch.cat([cross.T, u2 @ u2.T / temperature - away], 1)
    own = torch.arange(len(z1))
    return 0.5 * (F.cross_entropy(first, own) + F.cross_entropy(second, own))


def uniformity_by_loops(z, t):
    u = [row / row.norm() for row in z]
    pairs = [(i, j) for i in range(len(u)) for j in range(i)]
    squared = torch.stack([(u[i] - u[j]).dot(u[i] - u[j]) for i, j in pairs])
    return torch.exp(-t * squared).mean().log()


def uniformity_by_products(z, t):
    cosine = cosine_by_einsum(z, z)
    above = torch.triu_indices(len(z), len(z), 1)
    exponent = 2 * t * (cosine[above[0], above[1]] - 1)
    return exponent.logsumexp(0) - math.log(len(exponent))


def representation_by_centering(images):
    places = torch.arange(images.shape[2], device=images.device, dtype=images.dtype)
    rows = []
    for image in images[:, 0]:
        weight = image.sum().clamp(min=1e-6)
        down, right = (image.sum(1) @ places / weight, image.sum(0) @ places / weight)
        centered = image.roll((14 - round(float(down)), 14 - round(float(right))), (0, 1))
        rows.append((centered + centered.flip(1)).flatten())
    return torch.stack(rows)


def representation_by_profiles(images):
    brightness = images[:, 0]
    return torch.cat([brightness.sum(axis).sort(1).values for axis in (1, 2)], 1)


def correlation_by_numpy(z1, z2):
    dim = z1.shape[1]
    whole = np.corrcoef(z1.double().numpy(), z2.double().numpy(), rowvar=False)
    return torch.from_numpy(whole[:dim, dim:])


def correlation_by_loops(z1, z2):
    def pearson(x, y):
        x, y = (x - x.mean()).double(), (y - y.mean()).double()
        return float((x * y).sum() / (x.norm() * y.norm()))

    return torch.tensor([[pearson(x, y) for y in z2.T] for x in z1.T])


def redundancy_by_loops(correlation):
    rows = enumerate(correlation.tolist())
    squares = [value**2 for i, row in rows for j, value in enumerate(row) if i != j]
    return sum(squares) / len(squares)


def redundancy_by_subtraction(correlation):
    off = correlation - torch.diag(correlation.diagonal())
    return off.pow(2).sum() / (len(off) ** 2 - len(off))


def barlow_by_loops(z1, z2, off_diagonal):
    C = correlation_by_loops(z1, z2).tolist()
    terms = [
        (1 - value) ** 2 if i == j else off_diagonal * value**2
        for i, row in enumerate(C)
        for j, value in enumerate(row)
    ]
    return sum(terms)


def barlow_with_unbiased_deviation(z1, z2, off_diagonal):
    a, b = ((z - z.mean(0)) / z.std(0) for z in (z1, z2))
    C = a.T @ b / (len(z1) - 1)  # N - 1 in both places is right too
    square = (C - torch.eye(len(C))) ** 2
    weight = torch.full_like(C, off_diagonal).fill_diagonal_(1)
    return (weight * square).sum()


def none_if_constant(share, h):
    return torch.where(h.amax(0) > h.amin(0), share, 0)


def dependence_of_squares(x, y):
    x, y = (x - x.mean(1, keepdim=True)).square(), (y - y.mean(1, keepdim=True)).square()
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return ((x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))).abs()


def dependence_of_distances_from_the_middle(x, y):
    def away(one):
        return (one - one.median(1, keepdim=True).values).abs()

    pairs = zip(away(x), away(y), strict=True)
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1].abs() for pair in pairs])


def class_r2_by_scatter(h, labels):
    count = torch.bincount(labels).float()
    total = torch.zeros(len(count), h.shape[1]).index_add_(0, labels, h)
    fitted = (total / count[:, None].clamp(min=1))[labels]
    return none_if_constant(fitted.var(0) / h.var(0), h)


def class_r2_within(h, labels):
    within = sum(
        (h[labels == c] - h[labels == c].mean(0)).pow(2).sum(0) for c in set(labels.tolist())
    )
    return none_if_constant(1 - within / (h - h.mean(0)).pow(2).sum(0), h)


def nuisance_by_lstsq(h, nuisance):
    x = nuisance - nuisance.mean(0)
    y = h - h.mean(0)
    explained = (x @ torch.linalg.lstsq(x, y).solution).pow(2).sum(0)
    return none_if_constant(explained / y.pow(2).sum(0), h)


def nuisance_by_normal_equations(h, nuisance):
    x = torch.cat([torch.ones(len(h), 1), nuisance], 1)
    fitted = x @ torch.linalg.solve(x.T @ x, x.T @ h)
    return none_if_constant(fitted.var(0) / h.var(0), h)


def top_mask_by_rank(scores, share):
    rank = (scores[None] > scores[:, None]).sum(1)
    return rank < max(1, round(share * len(scores)))


def top_mask_of_zeros_and_ones(scores, share):
    k = max(1, round(share * len(scores)))
    return torch.zeros(len(scores)).scatter(0, scores.topk(k).indices, 1.0).int()


def split_gain_by_loops(right, whole_right, first):
    choosing = [i for i, chosen in enumerate(first.tolist()) if chosen]
    judging = [i for i, chosen in enumerate(first.tolist()) if not chosen]
    scores = [sum(row[i] for i in choosing) for row in right.tolist()]
    best = right.tolist()[scores.index(max(scores))]
    whole = whole_right.tolist()
    return sum(best[i] - whole[i] for i in judging) / len(judging)


def split_gain_by_index(right, whole_right, first):
    rest = (~first).nonzero()[:, 0]
    best = max(range(len(right)), key=lambda m: int((right[m] & first).sum()))
    difference = right[best].double() - whole_right.double()
    return difference[rest].mean()


def toy_value(theta, w, x, y):
    return torch.mean((torch.tanh(x * theta) @ (1 / (1 + torch.exp(-w))) - y) ** 2)


def whitened_by_svd(train_h, test_h, shrinkage):
    n, mean = len(train_h), train_h.mean(0)
    _, size, directions = torch.linalg.svd((train_h - mean).double() / math.sqrt(n - 1))
    variance = torch.zeros(len(directions), dtype=torch.float64, device=size.device)
    variance[: len(size)] = size**2
    shrunk = variance + shrinkage * (variance.mean() - variance)
    turned = (test_h - mean).double() @ directions.T
    return ((turned / torch.sqrt(shrunk)) @ directions).float()


def whitened_by_newton(train_h, test_h, shrinkage):
    covariance = torch.cov(train_h.double().T, correction=0)
    identity = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
    shrunk = covariance.lerp(covariance.trace() / len(covariance) * identity, shrinkage)
    size = shrunk.norm()
    y, z = shrunk / size, identity  # Denman and Beavers: z tends to the inverse root
    for _ in range(60):
        step = (3 * identity - z @ y) / 2
        y, z = y @ step, step @ z
    return ((test_h - train_h.mean(0)).double() @ z).float() / size.sqrt().float()


def map_without_loud_directions(h1, h2):
    variance, directions = torch.linalg.eigh(torch.cov((h1 - h2).T))
    quiet = directions[:, variance < variance.mean() / 4]
    return quiet @ quiet.T


def map_by_whitening_all(h1, h2):
    variance, directions = torch.linalg.eigh(torch.cov(torch.cat([h1, h2]).T))
    return directions / (variance + 1e-3 * variance.mean()).sqrt()


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


def least_seconds_by_loop(flops, moved, peak, bandwidth):
    layers = zip(flops.tolist(), moved.tolist(), strict=True)
    return sum(max(f / peak, m / bandwidth) for f, m in layers)


def least_seconds_by_intensity(flops, moved, peak, bandwidth):
    reached = (flops / moved * bandwidth).clamp(max=peak)  # operations a second
    return (flops / reached).sum()


def intensity_by_hand(images, channels_in, channels_out, height, width, stride):
    out_height, out_width = math.ceil(height / stride), math.ceil(width / stride)
    results = images * channels_out * out_height * out_width
    flops = results * channels_in * 9 * 2
    numbers = images * channels_in * height * width + 9 * channels_in * channels_out + results
    return flops / (4 * numbers)


def intensity_by_running_it(images, channels_in, channels_out, height, width, stride):
    x = torch.zeros(images, channels_in, height, width)
    weight = torch.zeros(channels_out, channels_in, 3, 3)
    y = F.conv2d(x, weight, stride=stride, padding=1)
    return 2 * y.numel() * weight[0].numel() / (x.nbytes + weight.nbytes + y.nbytes)


def self_time_by_loops(start, end, parent):
    own = (end - start).tolist()
    for i, above in enumerate(parent.tolist()):
        if above >= 0:
            own[above] -= float(end[i] - start[i])
    return torch.tensor(own)


def self_time_by_matrix(start, end, parent):
    duration = end - start
    calls = torch.nn.functional.one_hot(parent + 1, len(parent) + 1)[:, 1:].to(duration.dtype)
    return duration - calls.T @ duration


def best_step_by_search(rounding, third):
    steps = torch.logspace(-3, 1, 200_001, dtype=torch.float64)
    return float(steps[(rounding / steps + third * steps**2 / 6).argmin()])


def sums_gradient_by_autograd(gradients):
    x = torch.zeros_like(gradients).requires_grad_()
    y = x.sum(0)
    return torch.autograd.grad(sum((g * y).sum() for g in gradients), x)[0]


def pooled_by_squares(counts, means, variances):
    counts = counts[:, None].double()
    mean = (counts * means).sum(0) / counts.sum()
    return ((counts * (variances + means**2)).sum(0) / counts.sum() - mean**2).float()


def pooled_by_chans_formula(counts, means, variances):
    count, mean, squares = counts[0], means[0], counts[0] * variances[0]
    for n, m, v in zip(counts[1:], means[1:], variances[1:], strict=True):
        away = m - mean
        squares = squares + n * v + away**2 * count * n / (count + n)
        mean, count = mean + away * n / (count + n), count + n
    return squares / count


def ring_by_rounds(message, processes, bandwidth, latency):
    return sum(latency + message / processes / bandwidth for _ in range(2 * processes - 2))


RIGHT = {
    "01.1": [cosine_by_loops, cosine_by_einsum],
    "01.2": [vote_by_loops, vote_by_softmax],
    "01.3": [views_by_gather, views_flipped_first],
    "01.4": [nt_xent_by_loops, nt_xent_in_blocks],
    "01.5": [
        lambda s, t: torch.exp(s / t) / torch.exp(s / t).sum(),
        lambda s, t: (s / t - (s / t).logsumexp(0)).exp(),
    ],
    "01.6": [
        lambda n, t: torch.log(torch.tensor(2 * n - 1)),
        lambda n, t: -math.log(math.exp(1 / t) / ((2 * n - 1) * math.exp(1 / t))),
    ],
    "01.7": [uniformity_by_loops, uniformity_by_products],
    "01.8": [representation_by_centering, representation_by_profiles],
    "02.1": [correlation_by_numpy, correlation_by_loops],
    "02.2": [redundancy_by_loops, redundancy_by_subtraction],
    "02.3": [barlow_by_loops, barlow_with_unbiased_deviation],
    "02.5": [
        lambda s: math.exp(-sum(p * math.log(p) for p in (s / s.sum()).tolist())),
        lambda s: torch.exp(torch.distributions.Categorical(probs=s).entropy()),
    ],
    "02.4": [
        lambda dim, off: off * (dim**2 - dim),
        lambda dim, off: off * (torch.ones(dim, dim) - torch.eye(dim)).sum(),
    ],
    "02.6": [dependence_of_squares, dependence_of_distances_from_the_middle],
    "03.1": [class_r2_by_scatter, class_r2_within],
    "03.2": [nuisance_by_lstsq, nuisance_by_normal_equations],
    "03.3": [top_mask_by_rank, top_mask_of_zeros_and_ones],
    "03.4": [
        lambda a, b, mask: cosine_by_loops(a * mask, b * mask),
        lambda a, b, mask: cosine_by_einsum(a[:, mask], b[:, mask]),
    ],
    "03.5": [split_gain_by_loops, split_gain_by_index],
    "03.6": [whitened_by_svd, whitened_by_newton],
    "03.7": [map_without_loud_directions, map_by_whitening_all],
    "04.1": [
        lambda h, w, weight: h @ (weight / (1 + torch.exp(-w))).T,
        lambda h, w, weight: torch.einsum("nd,d,pd->np", h, torch.sigmoid(w), weight),
    ],
    "04.2": [step_by_loops, step_by_autograd],
    "04.3": [meta_by_double_backward, meta_by_func],
    "04.4": [judged_by_coins, judged_by_both],
    "04.5": [difference_by_autograd, difference_on_the_way_back],
    "04.6": [mixed_by_reverse_over_forward_of_elementary_operations, mixed_by_double_backward],
    "07.1": [intensity_by_hand, intensity_by_running_it],
    "07.2": [least_seconds_by_loop, least_seconds_by_intensity],
    "07.3": [self_time_by_loops, self_time_by_matrix],
    "07.4": [lambda rounding, third: (third / rounding / 3) ** (-1 / 3), best_step_by_search],
    "07.5": [sums_gradient_by_autograd, lambda g: torch.ones(len(g), len(g)) @ g],
    "07.6": [pooled_by_squares, pooled_by_chans_formula],
    "07.7": [
        ring_by_rounds,
        lambda m, n, speed, latency: 2 * (n - 1) * latency + 2 * (1 - 1 / n) * m / speed,
    ],
}
