"""Exercise 05.1: the interval of a paired difference."""

import math

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson05.accuracies import paired_accuracies

POINTS = 100  # in which the answer is compared: accuracies are small numbers


def paired_interval(a: Tensor, b: Tensor, quantile: float) -> Tensor:
    """Return the ends [2] of the interval of the mean of a − b over seeds, a and b [n].

    Mean ± quantile · s / √n, with s the deviation of the differences, their squares divided by
    n − 1.

    Args:
        a: accuracies of one method.
        b: of the other, of the same seeds.
        quantile: of the t law with n − 1 degrees of freedom.
    """
    difference = a - b
    reach = quantile * difference.std() / math.sqrt(len(difference))
    return torch.stack([difference.mean() - reach, difference.mean() + reach])


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, float]:
    quantile = float(1.9 + torch.rand((), generator=generator))
    a, b = paired_accuracies(generator, size)
    return POINTS * a, POINTS * b, round(quantile, 3)


exercise = Exercise(
    id="05.1",
    title="the interval of a paired difference",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_paired_interval",
    reference=paired_interval,
    home="mmlite.exercises.lesson05.paired_interval",
    draw=draw,
    sizes=(3, 5, 20),
    hidden_sizes=(2, 40),
    tolerance=1e-3,
    why_tolerance="accuracies of about 70 points have seven digits in float32, so that their "
    "differences are known to 1e-5, and an interval of a few of them to 1e-4",
)


@exercise.mistake(
    "unpaired",
    "both methods' variances were added, as if their seeds had nothing to do with each other. A "
    "seed is lucky or unlucky for both: take the deviation of the differences.",
)
def _unpaired(a, b, quantile):
    difference = (a - b).mean()
    reach = quantile * ((a.var() + b.var()) / len(a)).sqrt()
    return torch.stack([difference - reach, difference + reach])


@exercise.mistake(
    "n instead of n − 1",
    "the squares were divided by n: around their own mean differences look smaller than they are, "
    "so divide by n − 1.",
)
def _n_instead_of_n_minus_1(a, b, quantile):
    difference = a - b
    reach = quantile * difference.std(correction=0) / math.sqrt(len(difference))
    return torch.stack([difference.mean() - reach, difference.mean() + reach])


@exercise.mistake(
    "deviation",
    "this is how far a single seed strays: the mean of n of them strays √n times less.",
)
def _deviation(a, b, quantile):
    difference = a - b
    reach = quantile * difference.std()
    return torch.stack([difference.mean() - reach, difference.mean() + reach])


@exercise.mistake(
    "divided by n", "the deviation was divided by n: a mean of n strays √n times less, not n times."
)
def _divided_by_n(a, b, quantile):
    difference = a - b
    reach = quantile * difference.std() / len(difference)
    return torch.stack([difference.mean() - reach, difference.mean() + reach])


@exercise.mistake(
    "variance", "the variance stands where the deviation belongs: the root is missing."
)
def _variance(a, b, quantile):
    difference = a - b
    reach = quantile * difference.var() / math.sqrt(len(difference))
    return torch.stack([difference.mean() - reach, difference.mean() + reach])


@exercise.mistake("order", "the ends stand in the other order: the lower one first.")
def _order(a, b, quantile):
    return paired_interval(a, b, quantile).flip(0)


@exercise.mistake("b − a", "this is the interval of b − a: what is asked for is a − b.")
def _b_minus_a(a, b, quantile):
    return paired_interval(b, a, quantile)
