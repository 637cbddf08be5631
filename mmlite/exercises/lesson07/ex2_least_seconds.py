"""Exercise 07.2: the roofline."""

from torch import Generator

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import WHY_NUMBERS, draw_between
from mmlite.experiments.costs import Cost, MachineLimits


def least_seconds(flops: float, moved: float, peak: float, bandwidth: float) -> float:
    """Return the least seconds of `flops` operations that move `moved` bytes."""
    return MachineLimits(peak, bandwidth).seconds(Cost(flops, moved))


def draw(generator: Generator, size: int) -> tuple[float, float, float, float]:
    seconds = draw_between(generator, 2, 4), draw_between(generator, 5, 9)
    of_flops, of_bytes = seconds if size % 2 else seconds[::-1]
    peak, bandwidth = draw_between(generator, 2e9, 4e9), draw_between(generator, 1e8, 3e8)
    return of_flops * peak, of_bytes * bandwidth, peak, bandwidth


exercise = Exercise(
    id="07.2",
    title="the roofline",
    points=1,
    minutes=5,
    difficulty=1,
    function="my_least_seconds",
    reference=least_seconds,
    home="mmlite.exercises.lesson07.least_seconds",
    draw=draw,
    sizes=(1, 2),
    hidden_sizes=(3, 4),
    tolerance=1e-5,
    why_tolerance=WHY_NUMBERS,
)


@exercise.mistake(
    "one after the other",
    "this is the sum: a machine computes while it moves, so the slower of the two counts.",
)
def _one_after_the_other(flops, moved, peak, bandwidth):
    return flops / peak + moved / bandwidth


@exercise.mistake(
    "the faster one", "this is the smaller of the two times: the work is done when both are."
)
def _the_faster_one(flops, moved, peak, bandwidth):
    return min(flops / peak, moved / bandwidth)


@exercise.mistake("operations alone", "bytes take time as well: moved / bandwidth seconds.")
def _operations_alone(flops, moved, peak, bandwidth):
    return flops / peak


@exercise.mistake("bytes alone", "operations take time as well: flops / peak seconds.")
def _bytes_alone(flops, moved, peak, bandwidth):
    return moved / bandwidth
