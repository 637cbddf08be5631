"""Exercise 07.4: the best step of a difference."""

from torch import Generator

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import draw_between


def best_step(rounding: float, third: float) -> float:
    """Return the ε that makes rounding / ε + third · ε² / 6 least."""
    return (3 * rounding / third) ** (1 / 3)


def draw(generator: Generator, size: int) -> tuple[float, float]:
    return draw_between(generator, 0.05, 0.2) / size, draw_between(generator, 2.0, 5.0)


exercise = Exercise(
    id="07.4",
    title="the best step of a difference",
    points=2,
    minutes=15,
    difficulty=3,
    function="my_best_step",
    reference=best_step,
    home="mmlite.exercises.lesson07.best_step",
    draw=draw,
    sizes=(1, 2),
    hidden_sizes=(5, 9),
    tolerance=1e-3,
    why_tolerance="a search for the least error finds the step to about 1e-4, for it is flat there",
)


@exercise.mistake(
    "a one-sided difference's",
    "this is the best step of a one-sided difference, whose error grows with ε, not ε².",
)
def _a_one_sided_difference(rounding, third):
    return 2 * (rounding / third) ** 0.5


@exercise.mistake(
    "a factor lost",
    "the power is right; set the derivative of rounding / ε + third · ε² / 6 to 0 "
    "once more: a factor is missing under the root.",
)
def _a_factor_lost(rounding, third):
    return (rounding / third) ** (1 / 3)


@exercise.mistake(
    "both errors alike", "here both errors are equal; the sum is least where their slopes cancel."
)
def _both_errors_alike(rounding, third):
    return (6 * rounding / third) ** (1 / 3)


@exercise.mistake("the cube", "this is ε³: take the cube root.")
def _the_cube(rounding, third):
    return 3 * rounding / third
