"""Exercise 04.2: a step that is not taken."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson04.toy import draw_rate, draw_toy, of_theta, of_w


def virtual_step(theta: Tensor, w: Tensor, x: Tensor, y: Tensor, lr: float) -> Tensor:
    """Return θ′ = θ − lr ∂L/∂θ [D] of the toy."""
    return theta - lr * of_theta(theta, w, x, y)


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    return *draw_toy(generator, size), draw_rate(generator)


exercise = Exercise(
    id="04.2",
    title="a step that is not taken",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_virtual_step",
    reference=virtual_step,
    home="mmlite.exercises.lesson04.virtual_step",
    draw=draw,
    sizes=(2, 4, 16),
    hidden_sizes=(3, 100),
    tolerance=1e-4,
    why_tolerance="sums of a few dozen float32 products round by about 1e-6; 1e-4 leaves room for "
    "any order and for automatic differentiation, and the mistakes change some entry by more than "
    "1e-2",
)


@exercise.mistake("uphill", "the step goes uphill: subtract lr times the gradient.")
def _uphill(theta, w, x, y, lr):
    return theta + lr * of_theta(theta, w, x, y)


@exercise.mistake(
    "no gate",
    "the gradient lacks the factor σ(w): the mask gates what comes back to θ as well "
    "as what goes forward.",
)
def _no_gate(theta, w, x, y, lr):
    return theta - lr * of_theta(theta, w, x, y) / torch.sigmoid(w)


@exercise.mistake(
    "gradient of the logits", "this is the gradient with respect to w: the virtual step moves θ."
)
def _gradient_of_the_logits(theta, w, x, y, lr):
    return theta - lr * of_w(theta, w, x, y)


@exercise.mistake(
    "sum over the batch", "the gradient is that of a sum over the batch: the loss is a mean."
)
def _sum_over_the_batch(theta, w, x, y, lr):
    return theta - lr * len(y) * of_theta(theta, w, x, y)


@exercise.mistake(
    "gradient only", "this is the gradient: return θ after the step, theta - lr * gradient."
)
def _gradient_only(theta, w, x, y, lr):
    return of_theta(theta, w, x, y)


@exercise.mistake(
    "factor 2", "the gradient is half of what it should be: the square's derivative brings a 2."
)
def _factor_2(theta, w, x, y, lr):
    return theta - lr / 2 * of_theta(theta, w, x, y)
