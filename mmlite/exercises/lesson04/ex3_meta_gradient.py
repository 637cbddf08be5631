"""Exercise 04.3: the gradient through the step."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson04.ex2_virtual_step import virtual_step
from mmlite.exercises.lesson04.toy import draw_rate, draw_toy, mask_slope, of_theta, of_w, represent


def _parts(theta, w, x, y, outer_x, outer_y, lr) -> tuple[Tensor, Tensor]:
    """Return both terms [D] of the meta-gradient: ∂L/∂w at θ′, and η times the mixed term."""
    virtual = virtual_step(theta, w, x, y, lr)
    v = of_theta(virtual, w, outer_x, outer_y)
    return of_w(virtual, w, outer_x, outer_y), lr * mixed_term(theta, w, x, y, v)


def mixed_term(theta: Tensor, w: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """Return ∂/∂w ⟨∂L/∂θ, v⟩ [D] of the toy, by hand."""
    h, slope, residual = represent(theta, w, x, y)
    of_h = slope * v  # how h changes as θ moves along v
    of_residual = (of_h @ torch.sigmoid(w))[:, None]
    return 2 * (of_residual * h + residual * of_h).mean(0) * mask_slope(w)


def meta_gradient(
    theta: Tensor, w: Tensor, x: Tensor, y: Tensor, outer_x: Tensor, outer_y: Tensor, lr: float
) -> Tensor:
    """Return the gradient [D] of L(θ′(w), w) on the outer batch with respect to the logits."""
    direct, through = _parts(theta, w, x, y, outer_x, outer_y, lr)
    return direct - through


def draw(generator: Generator, size: int):
    theta, w, x, y = draw_toy(generator, size)
    _, _, outer_x, outer_y = draw_toy(generator, size)
    return theta, w, x, y, outer_x, outer_y, draw_rate(generator)


exercise = Exercise(
    id="04.3",
    title="the gradient through the step",
    points=4,
    minutes=30,
    difficulty=4,
    function="my_meta_gradient",
    reference=meta_gradient,
    home="mmlite.exercises.lesson04.meta_gradient",
    draw=draw,
    sizes=(2, 4, 16),
    hidden_sizes=(3, 100),
    tolerance=1e-3,
    why_tolerance="the two terms are up to ten times their difference, so that float32 leaves "
    "about 1e-5 of it; the mistakes change some entry by more than 1e-2",
)


@exercise.mistake(
    "detached virtual step",
    "θ′ was taken for a constant: it depends on w through the gate, and that path is "
    "missing. Keep the graph of the first gradient (create_graph=True).",
)
def _detached_virtual_step(*case):
    return _parts(*case)[0]


@exercise.mistake(
    "sign of the second term",
    "the second term has the wrong sign: θ′ = θ − lr · gradient brings a minus.",
)
def _wrong_sign(*case):
    direct, through = _parts(*case)
    return direct + through


@exercise.mistake(
    "second term alone",
    "only the path through θ′ is there: the loss after the step also sees the mask directly.",
)
def _second_term_alone(*case):
    return -_parts(*case)[1]


@exercise.mistake(
    "before the step", "the loss is taken at θ: take it at θ′, after the virtual step."
)
def _before_the_step(theta, w, x, y, outer_x, outer_y, lr):
    return of_w(theta, w, outer_x, outer_y)


@exercise.mistake(
    "the inner batch twice",
    "the loss after the step is taken on the batch of the step: take it on outer_x and outer_y.",
)
def _same_batch(theta, w, x, y, outer_x, outer_y, lr):
    return meta_gradient(theta, w, x, y, x, y, lr)


@exercise.mistake(
    "of the mask, not the logits",
    "this is the gradient with respect to the mask: the logits' has a factor σ(w) (1 − σ(w)) more.",
)
def _of_the_mask(*case):
    return meta_gradient(*case) / mask_slope(case[1])


@exercise.mistake(
    "a step uphill",
    "the virtual step goes up the loss here: θ′ = θ − lr · gradient.",
)
def _a_step_uphill(theta, w, x, y, outer_x, outer_y, lr):
    return meta_gradient(theta, w, x, y, outer_x, outer_y, -lr)
