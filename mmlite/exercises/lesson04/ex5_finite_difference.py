"""Exercise 04.5: the second term by difference."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson04.toy import draw_toy, of_theta, of_w


def finite_difference(
    theta: Tensor, w: Tensor, x: Tensor, y: Tensor, v: Tensor, step: float
) -> Tensor:
    """Return the mixed term [D] by a central difference, θ moved by step · v / ‖v‖ either way."""
    epsilon = step / v.norm()
    ahead = of_w(theta + epsilon * v, w, x, y)
    behind = of_w(theta - epsilon * v, w, x, y)
    return (ahead - behind) / (2 * epsilon)


def draw(generator: Generator, size: int):
    v = 1 + torch.rand(3, generator=generator)
    # long steps: float32 would lose the difference of a short one
    step = round(0.3 + 0.3 * float(torch.rand((), generator=generator)), 2)
    return *draw_toy(generator, size), v, step


exercise = Exercise(
    id="04.5",
    title="the second term by difference",
    points=2,
    minutes=20,
    difficulty=3,
    function="my_finite_difference",
    reference=finite_difference,
    home="mmlite.exercises.lesson04.finite_difference",
    draw=draw,
    sizes=(2, 4, 16),
    hidden_sizes=(3, 100),
    tolerance=1e-3,
    why_tolerance="a difference over a distance of about 0.3 keeps five digits of float32; the "
    "mistakes change some entry by more than 1e-2",
)


def _ends(theta, w, x, y, v, epsilon):
    return [of_w(theta + sign * epsilon * v, w, x, y) for sign in (1, -1)]


@exercise.mistake(
    "distance forgotten",
    "this is the difference of the gradients: divide it by the distance of the two points.",
)
def _distance_forgotten(theta, w, x, y, v, step):
    ahead, behind = _ends(theta, w, x, y, v, step / v.norm())
    return ahead - behind


@exercise.mistake(
    "half the distance", "the difference was divided by ε: the two points are 2ε apart."
)
def _half_the_distance(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, behind = _ends(theta, w, x, y, v, epsilon)
    return (ahead - behind) / epsilon


@exercise.mistake(
    "one-sided",
    "one of the points is θ itself: move it both ways, θ + εv and θ − εv, for an error "
    "of order ε² in place of ε.",
)
def _one_sided(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, _ = _ends(theta, w, x, y, v, epsilon)
    return (ahead - of_w(theta, w, x, y)) / epsilon


@exercise.mistake(
    "divided by the step",
    "the difference was divided by 2 · step: the factor before v is ε = step / ‖v‖.",
)
def _divided_by_step(theta, w, x, y, v, step):
    ahead, behind = _ends(theta, w, x, y, v, step / v.norm())
    return (ahead - behind) / (2 * step)


@exercise.mistake(
    "v not scaled",
    "θ was moved by step · v: divide by the length of v, so that the move is `step` "
    "long whatever v is.",
)
def _v_not_scaled(theta, w, x, y, v, step):
    return finite_difference(theta, w, x, y, v, step * float(v.norm()))


@exercise.mistake("logits moved", "w was moved: it is θ that moves along v.")
def _logits_moved(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, behind = (of_w(theta, w + sign * epsilon * v, x, y) for sign in (1, -1))
    return (ahead - behind) / (2 * epsilon)


@exercise.mistake(
    "gradient of θ",
    "the gradients at the two points are those with respect to θ: take those with respect to w.",
)
def _gradient_of_theta(theta, w, x, y, v, step):
    epsilon = step / v.norm()
    ahead, behind = (of_theta(theta + sign * epsilon * v, w, x, y) for sign in (1, -1))
    return (ahead - behind) / (2 * epsilon)
