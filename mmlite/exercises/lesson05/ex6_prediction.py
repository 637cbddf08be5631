"""Exercise 05.6: where the next run will land."""

import math

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def prediction_interval(values: Tensor, quantile: float) -> Tensor:
    """Return the ends [2] between which one more run lies, mean ± quantile · s · √(1 + 1/n).

    Args:
        values: of n runs, [n].
        quantile: of the t law with n − 1 degrees of freedom.
    """
    reach = quantile * values.std() * math.sqrt(1 + 1 / len(values))
    return torch.stack([values.mean() - reach, values.mean() + reach])


def draw(generator: Generator, size: int) -> tuple[Tensor, float]:
    quantile = float(1.9 + torch.rand((), generator=generator))
    return 70 + 2 * torch.randn(size, generator=generator), round(quantile, 3)


exercise = Exercise(
    id="05.6",
    title="where the next run will land",
    points=1,
    minutes=10,
    difficulty=2,
    function="my_prediction_interval",
    reference=prediction_interval,
    home="mmlite.exercises.lesson05.prediction_interval",
    draw=draw,
    sizes=(3, 5, 10),
    hidden_sizes=(2, 20),
    tolerance=1e-3,
    why_tolerance="float32 rounds a mean of numbers near 70 by about 1e-5; 1e-3 is far less than "
    "the 1/n in the root changes at n = 20",
)


def _around(values: Tensor, reach: Tensor) -> Tensor:
    return torch.stack([values.mean() - reach, values.mean() + reach])


@exercise.mistake(
    "interval of the mean",
    "this is the interval of the mean: it says where the mean of very many runs lies. A single run "
    "strays by the whole deviation.",
)
def _interval_of_the_mean(values, quantile):
    return _around(values, quantile * values.std() / math.sqrt(len(values)))


@exercise.mistake(
    "mean taken for known",
    "the mean was taken for known: it is itself of n runs, which adds 1/n under the root.",
)
def _mean_taken_for_known(values, quantile):
    return _around(values, quantile * values.std())


@exercise.mistake(
    "n instead of n − 1", "the squares were divided by n: divide by n − 1, as std() does."
)
def _n_instead_of_n_minus_1(values, quantile):
    reach = quantile * values.std(correction=0) * math.sqrt(1 + 1 / len(values))
    return _around(values, reach)


@exercise.mistake(
    "errors added",
    "the two errors were added: independent errors add in their squares, √(1 + 1/n).",
)
def _errors_added(values, quantile):
    return _around(values, quantile * values.std() * (1 + 1 / math.sqrt(len(values))))


@exercise.mistake(
    "range", "these are the least and the greatest of the runs: the next one may lie beyond them."
)
def _range(values, quantile):
    return torch.stack([values.amin(), values.amax()])
