"""Exercise 04.6: the second term, exactly."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.exercises.exercise import Exercise


def _through_head(theta: Tensor, w: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return (torch.tanh(x * theta) * torch.sigmoid(w)) @ weight.T


def head_loss(theta: Tensor, w: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return a loss whose head holds a BatchNorm: mean of tanh(BN((tanh(x θ) ⊙ σ(w)) Wᵀ))³."""
    u = _through_head(theta, w, x, weight)
    return torch.tanh(F.batch_norm(u, None, None, training=True)).pow(3).mean()


def forward_over_reverse(theta: Tensor, w: Tensor, x: Tensor, weight: Tensor, v: Tensor) -> Tensor:
    """Return ∂/∂w ⟨∂L/∂θ, v⟩ [D] of `head_loss`: the derivative of ∂L/∂w as θ moves along v."""

    def of_w(theta: Tensor) -> Tensor:
        return torch.func.grad(head_loss, argnums=1)(theta, w, x, weight)

    return torch.func.jvp(of_w, (theta,), (v,))[1]


def draw(generator: Generator, size: int):
    dim, width = 3, 4
    return (
        0.5 + torch.rand(dim, generator=generator),
        torch.randn(dim, generator=generator),
        torch.randn(size, dim, generator=generator),
        torch.randn(width, dim, generator=generator),
        torch.randn(dim, generator=generator),
    )


exercise = Exercise(
    id="04.6",
    title="the second term, exactly",
    points=3,
    minutes=25,
    difficulty=4,
    function="my_mixed_term",
    reference=forward_over_reverse,
    home="mmlite.exercises.lesson04.forward_over_reverse",
    draw=draw,
    sizes=(4, 8, 32),
    hidden_sizes=(5, 100),
    tolerance=1e-3,
    why_tolerance="BatchNorm divides float32 sums by their deviation, twice differentiated; "
    "about 1e-5 is lost. The mistakes change some entry by more than 1e-2",
)


EPSILON = 1e-5  # BatchNorm's


@exercise.mistake(
    "the trap",
    "this is the gradient of a jvp, and the backward pass through PyTorch's forward "
    "derivative of BatchNorm treats the batch's mean and scale as constants. Turn the "
    "order round: the jvp of a gradient.",
)
def _the_trap(theta, w, x, weight, v):
    """Return the gradient of a jvp as torch 2.15 has it, whatever torch is installed.

    Its forward derivative of BatchNorm takes the batch's mean and scale from the kernel, which a
    backward pass then treats as constants.
    """

    def along(w):
        u, du = torch.func.jvp(lambda theta: _through_head(theta, w, x, weight), (theta,), (v,))
        centered, dcentered = u - u.mean(0), du - du.mean(0)
        scale = (centered.square().mean(0) + EPSILON).rsqrt()
        held = scale.detach()
        standard = (u - u.mean(0).detach()) * held
        dnorm = held * (dcentered - standard * (standard * dcentered).mean(0))
        cubes = torch.func.jvp(
            lambda norm: torch.tanh(norm).pow(3).mean(), (centered * scale,), (dnorm,)
        )
        return cubes[1]

    return torch.func.grad(along)(w)


@exercise.mistake(
    "roles exchanged",
    "this is the derivative of ∂L/∂θ as w moves along v: take that of ∂L/∂w as θ moves.",
)
def _roles_exchanged(theta, w, x, weight, v):
    def of_theta(w):
        return torch.func.grad(head_loss)(theta, w, x, weight)

    return torch.func.jvp(of_theta, (w,), (v,))[1]


@exercise.mistake(
    "θ twice", "this is the derivative of ∂L/∂θ as θ moves along v: take ∂L/∂w (argnums=1)."
)
def _hessian(theta, w, x, weight, v):
    def of_theta(theta):
        return torch.func.grad(head_loss)(theta, w, x, weight)

    return torch.func.jvp(of_theta, (theta,), (v,))[1]


@exercise.mistake(
    "not differentiated along v",
    "this is ∂L/∂w itself: jvp returns the value and the derivative along v, and the "
    "second is asked for.",
)
def _value_of_jvp(theta, w, x, weight, v):
    return torch.func.grad(head_loss, argnums=1)(theta, w, x, weight)
