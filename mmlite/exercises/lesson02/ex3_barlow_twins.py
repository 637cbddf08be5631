"""Exercise 02.3: Barlow Twins."""

import torch
from torch import Generator, Tensor

from mmlite import redundancy as course
from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson02.correlation import (
    add_misreadings,
    correlate,
    draw_views,
    off_diagonal_entries,
)


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, float]:
    off_diagonal = 0.1 + 0.4 * float(torch.rand((), generator=generator))
    return *draw_views(generator, size), round(off_diagonal, 2)


exercise = Exercise(
    id="02.3",
    title="Barlow Twins",
    points=3,
    minutes=25,
    difficulty=3,
    function="my_barlow_twins",
    reference=course.barlow_twins,
    home="mmlite.redundancy.barlow_twins",
    draw=draw,
    sizes=(4, 6, 16),
    hidden_sizes=(3, 100),
    tolerance=1e-3,
    why_tolerance="the loss is a sum of 16 squares of correlations that float32 gives to 1e-5; "
    "1e-3 is a tenth of what the deviation's N − 1 changes at N = 100",
)


def _loss(z1: Tensor, z2: Tensor, on: float, off: float, **reading) -> Tensor:
    C = correlate(z1, z2, **reading)
    return on * (1 - C.diagonal()).square().sum() + off * off_diagonal_entries(C).square().sum()


def _misread(z1, z2, off, **reading):
    return _loss(z1, z2, 1, off, **reading)


add_misreadings(exercise, _misread)


@exercise.mistake(
    "weight on the diagonal",
    "λ weighs the diagonal here: it belongs to the entries off the diagonal.",
)
def _weight_on_the_diagonal(z1, z2, off):
    return _loss(z1, z2, off, 1)


@exercise.mistake("weight on both", "λ weighs both sums: only the entries off the diagonal get it.")
def _weight_on_both(z1, z2, off):
    return _loss(z1, z2, off, off)


@exercise.mistake("weight unused", "λ is not used: it weighs the entries off the diagonal.")
def _weight_unused(z1, z2, off):
    return _loss(z1, z2, 1, 1)


@exercise.mistake(
    "diagonal to zero",
    "the diagonal is driven to 0, so that the two views disagree: its terms are (1 − C_ii)².",
)
def _diagonal_to_zero(z1, z2, off_diagonal):
    C = correlate(z1, z2)
    return C.diagonal().square().sum() + off_diagonal * off_diagonal_entries(C).square().sum()


@exercise.mistake(
    "diagonal counted twice",
    "the second sum holds the diagonal too: only entries with i ≠ j belong to it.",
)
def _diagonal_counted_twice(z1, z2, off_diagonal):
    C = correlate(z1, z2)
    return (1 - C.diagonal()).square().sum() + off_diagonal * C.square().sum()


@exercise.mistake(
    "means", "the equation has sums where means were taken, and λ means another thing then."
)
def _means(z1, z2, off_diagonal):
    C = correlate(z1, z2)
    return (1 - C.diagonal()).square().mean() + off_diagonal * off_diagonal_entries(
        C
    ).square().mean()


@exercise.mistake("not squared", "absolute values were summed: the equation squares them.")
def _not_squared(z1, z2, off_diagonal):
    C = correlate(z1, z2)
    return (1 - C.diagonal()).abs().sum() + off_diagonal * off_diagonal_entries(C).abs().sum()


@exercise.mistake(
    "half of the entries",
    "only entries above the diagonal are summed; C is not symmetric, and all i ≠ j count.",
)
def _half_of_the_entries(z1, z2, off_diagonal):
    C = correlate(z1, z2)
    return (1 - C.diagonal()).square().sum() + off_diagonal * C.triu(1).square().sum()
