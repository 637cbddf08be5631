"""Exercise 02.4: the price of copies."""

import torch
from torch import Generator

from mmlite.exercises.exercise import Exercise


def copied_loss(dim: int, off_diagonal: float) -> float:
    """Return Barlow Twins' loss of `dim` copies of one dimension on which the views agree."""
    return off_diagonal * dim * (dim - 1)


def draw(generator: Generator, size: int) -> tuple[int, float]:
    off_diagonal = 0.01 + 0.2 * float(torch.rand((), generator=generator))
    return size, round(off_diagonal, 3)


exercise = Exercise(
    id="02.4",
    title="the price of copies",
    points=2,
    minutes=10,
    difficulty=2,
    function="my_copied_loss",
    reference=copied_loss,
    home="mmlite.exercises.lesson02.copied_loss",
    draw=draw,
    sizes=(2, 8, 64),
    hidden_sizes=(3, 1024),
    tolerance=1e-5,
    why_tolerance="a product of three numbers; float32 rounds it by 1e-7",
)


@exercise.mistake(
    "diagonal counted", "C has dim² entries, but those on its diagonal cost nothing: (1 − 1)² = 0."
)
def _diagonal_counted(dim, off):
    return off * dim * dim


@exercise.mistake(
    "each pair once", "each pair of dimensions stands in C twice, as C_ij and as C_ji."
)
def _each_pair_once(dim, off):
    return off * dim * (dim - 1) / 2


@exercise.mistake("weight unused", "λ is not used: every entry off the diagonal costs λ · 1².")
def _weight_unused(dim, off):
    return float(dim * (dim - 1))


@exercise.mistake(
    "one dimension's price", "this is the price of one dimension's row: there are dim rows."
)
def _one_dimension_price(dim, off):
    return off * (dim - 1)


@exercise.mistake(
    "nothing agrees",
    "this is the loss of dimensions that agree with nothing, C = 0: copies agree with "
    "everything, C = 1 everywhere.",
)
def _nothing_agrees(dim, off):
    return float(dim)
