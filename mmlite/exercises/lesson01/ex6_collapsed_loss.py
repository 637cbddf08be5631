"""Exercise 01.6: the loss of a collapsed network."""

import math

import torch
from torch import Generator

from mmlite.exercises.exercise import Exercise


def collapsed_loss(n: int, temperature: float) -> float:
    """Return NT-Xent when all 2n views of n images have one and the same projection."""
    return math.log(2 * n - 1)


def draw(generator: Generator, size: int) -> tuple[int, float]:
    # any number of images: a table of the public sizes is no formula
    n = size + int(torch.randint(0, 1000, (), generator=generator))
    temperature = 0.1 + float(torch.rand((), generator=generator))
    return n, round(temperature, 2)


exercise = Exercise(
    id="01.6",
    title="the loss of a collapsed network",
    points=2,
    minutes=10,
    difficulty=2,
    function="my_collapsed_loss",
    reference=collapsed_loss,
    home="mmlite.exercises.lesson01.collapsed_loss",
    draw=draw,
    sizes=(2, 3, 16),
    hidden_sizes=(128, 1000),
    tolerance=1e-5,
    why_tolerance="one logarithm, in float32 or better",
)


@exercise.mistake(
    "zero",
    "it is not 0: the partner is as similar as it can be, but so is every other view, "
    "and the softmax cannot tell them apart.",
)
def _zero(n, t):
    return 0.0


@exercise.mistake(
    "diagonal left in", "log 2n counts all 2n views: a view does not compete with itself."
)
def _diagonal_left_in(n, t):
    return math.log(2 * n)


@exercise.mistake(
    "images counted",
    "log n counts images: each has two views, and a view does not compete with itself.",
)
def _images_counted(n, t):
    return math.log(n)


@exercise.mistake(
    "negatives counted", "log(2n − 2) counts the negatives: the partner is in the denominator too."
)
def _negatives_counted(n, t):
    return math.log(2 * n - 2)


@exercise.mistake(
    "one view each",
    "do not divide by the temperature: every similarity is 1, so 1/τ appears above and "
    "below the fraction and cancels.",
)
def _one_view_each(n, t):
    return math.log(2 * n - 1) / t


@exercise.mistake(
    "minus sign", "mind the sign: the loss is −log of a probability, so it is not negative."
)
def _minus_sign(n, t):
    return -math.log(2 * n - 1)


@exercise.mistake(
    "probability", "this is the probability of choosing the partner; the loss is −log of it."
)
def _probability(n, t):
    return 1 / (2 * n - 1)
