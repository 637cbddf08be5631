"""Exercise 03.2: what the background explains of a dimension."""

import torch
from torch import Generator, Tensor

from mmlite import confounders as course
from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson03.shares import (
    add_constants,
    constants_last,
    say_of_constants,
    sum_of_squares,
    with_constants,
)


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return representations that follow three numbers more or less, and those numbers."""
    nuisance = torch.rand(size, 3, generator=generator)
    nuisance[:, 1] = nuisance[:, 1] + 0.5 * nuisance[:, 0]  # two of them correlate
    weight = 3 * torch.randn(3, 4, generator=generator)
    h = nuisance @ weight + torch.randn(size, 4, generator=generator)
    return with_constants(h + torch.randn(4, generator=generator), generator), nuisance


exercise = Exercise(
    id="03.2",
    title="what the background explains of a dimension",
    points=3,
    minutes=25,
    difficulty=3,
    function="my_nuisance_r2",
    reference=course.nuisance_r2,
    home="mmlite.confounders.nuisance_r2",
    draw=draw,
    sizes=(8, 12, 40),
    hidden_sizes=(6, 200),
    tolerance=1e-3,
    why_tolerance="a fit in float32 by the normal equations squares the conditioning and keeps "
    "about four digits; the smallest mistake changes some share by more than 1e-2",
    observe=constants_last(course.nuisance_r2, 1e-3),
    explain=say_of_constants,
)


def _explained_by_fit(
    h: Tensor, nuisance: Tensor, intercept: bool = True, about_mean: bool = True
) -> Tensor:
    h, nuisance = h.double(), nuisance.double()
    columns = [nuisance, nuisance.new_ones(len(nuisance), 1)] if intercept else [nuisance]
    inputs = torch.cat(columns, 1)
    residual = h - inputs @ (torch.linalg.pinv(inputs) @ h)
    return (
        1 - residual.square().sum(0) / (sum_of_squares(h) if about_mean else h.square().sum(0))
    ).float()


@exercise.mistake("what is left", "this is what the fit leaves: take it from 1.")
def _what_is_left(h, nuisance):
    return 1 - _explained_by_fit(h, nuisance)


@exercise.mistake(
    "no intercept",
    "the fit has no intercept: append a column of ones to the nuisance, or center both first.",
)
def _no_intercept(h, nuisance):
    return _explained_by_fit(h, nuisance, intercept=False)


@exercise.mistake(
    "no intercept, not centered",
    "the mean counts as variation here: center h and the nuisance first.",
)
def _no_intercept_not_centered(h, nuisance):
    return _explained_by_fit(h, nuisance, False, False)


@exercise.mistake(
    "total not centered",
    "the residual is compared with a sum of squares about 0: take the total about the mean.",
)
def _total_not_centered(h, nuisance):
    return _explained_by_fit(h, nuisance, about_mean=False)


@exercise.mistake(
    "first number only",
    "only the first number of the nuisance was fitted: use all its columns at once.",
)
def _first_number_only(h, nuisance):
    return _explained_by_fit(h, nuisance[:, :1])


@exercise.mistake(
    "each number on its own",
    "the numbers were fitted one by one and their shares added: what they share counts "
    "twice. Fit all columns at once.",
)
def _each_number_on_its_own(h, nuisance):
    return sum(_explained_by_fit(h, one[:, None]) for one in nuisance.T)


@exercise.mistake(
    "root", "this is the root, the multiple correlation: the share of the variance is its square."
)
def _root(h, nuisance):
    return _explained_by_fit(h, nuisance).sqrt()


add_constants(exercise)
