"""Exercise 02.2: how much dimensions repeat each other."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson02.correlation import off_diagonal_entries


def mean_squared_off_diagonal(correlation: Tensor) -> Tensor:
    """Return the mean of the squares of the entries of a matrix [D, D] off its diagonal."""
    dim = len(correlation)
    squares = correlation.square().sum() - correlation.diagonal().square().sum()
    return squares / (dim * (dim - 1))


def draw(generator: Generator, size: int) -> tuple[Tensor]:
    h = torch.randn(2 * size, size, generator=generator)
    h = h + torch.randn(2 * size, 1, generator=generator)  # something that all dimensions share
    sign = 1 - 2 * torch.arange(size).fmod(2)  # with every other dimension of the other sign
    return (torch.corrcoef((sign * h).T),)


exercise = Exercise(
    id="02.2",
    title="how much dimensions repeat each other",
    points=1,
    minutes=10,
    difficulty=2,
    function="my_redundancy",
    reference=mean_squared_off_diagonal,
    home="mmlite.exercises.lesson02.mean_squared_off_diagonal",
    draw=draw,
    sizes=(2, 4, 9),
    hidden_sizes=(3, 40),
    tolerance=1e-5,
    why_tolerance="float32 rounds sums of squares below 1 by about 1e-7 each; 1e-5 leaves room "
    "for any order of the sums",
)


@exercise.mistake(
    "diagonal counted",
    "the diagonal is counted too: a dimension's correlation with itself is always 1 "
    "and says nothing.",
)
def _diagonal_counted(correlation):
    return correlation.square().mean()


@exercise.mistake(
    "diagonal in the number",
    "the sum leaves the diagonal out, but it is divided by D²: there are D (D − 1) "
    "entries off the diagonal.",
)
def _diagonal_in_the_number(correlation):
    return off_diagonal_entries(correlation).square().sum() / correlation.numel()


@exercise.mistake(
    "sum",
    "this is the sum: divide by the number of entries off the diagonal, so that "
    "representations of different widths can be compared.",
)
def _sum(correlation):
    return off_diagonal_entries(correlation).square().sum()


@exercise.mistake(
    "not squared",
    "square the entries first: correlations of −1 and 1 are both repetition, and their mean is 0.",
)
def _not_squared_(correlation):
    return off_diagonal_entries(correlation).mean()


@exercise.mistake(
    "absolute", "this is the mean of the absolute values: the exercise asks for squares."
)
def _absolute(correlation):
    return off_diagonal_entries(correlation).abs().mean()


@exercise.mistake("root", "this is the root of the mean square: leave the root out.")
def _root(correlation):
    return off_diagonal_entries(correlation).square().mean().sqrt()
