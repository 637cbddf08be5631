"""Shares of variance, and how dimensions that do not vary are drawn, observed and told of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise

Information = Callable[[Tensor, Tensor], Tensor]  # from h [N, D] and what is known of the rows


def with_constants(h: Tensor, generator: Generator) -> Tensor:
    """Return h [N, D] with two more columns: zeros, and a number whose mean rounds to another.

    Such a column's sum of squares about its mean is not 0, only small. (Where N is a power of 2 no
    mean of equal numbers rounds.)
    """
    alone = h.new_zeros(len(h), 1)
    for _ in range(100):
        value = 0.1 + torch.rand((), generator=generator)
        whole = torch.cat([h, alone, alone + value], 1)
        if bool((whole - whole.mean(0))[:, -1].any()):
            break
    return whole


def is_constant(h: Tensor) -> Tensor:
    return (h == h[0]).all(0)


def constants_last(reference: Information, tolerance: float) -> Callable[..., Any]:
    """Return how an answer is observed: constant dimensions count once all others are right.

    So a mistake that has nothing to do with them is recognized whatever the answer does there; and
    then NaN in one of them becomes NaN in all, a number other than 0 becomes 1 in all. How a sum
    rounds does not decide which mistake is seen.
    """

    def observe(function: Information, h: Tensor, known: Tensor) -> Any:
        constant, expected = is_constant(h), reference(h, known)
        got = function(h, known)
        if (
            not isinstance(got, Tensor)
            or got.shape != expected.shape
            or not got.is_floating_point()
            or got.is_meta
        ):
            return got
        got, expected, constant = got.detach().clone().cpu(), expected.cpu(), constant.cpu()
        there = got[constant]
        got[constant] = 0
        if torch.allclose(got.double(), expected.double(), rtol=tolerance, atol=tolerance):
            got[constant] = torch.nan if bool(there.isnan().any()) else any_above(there, tolerance)
        return got

    return observe


def any_above(information: Tensor, tolerance: float) -> float:
    return float((information.abs() > tolerance).any())


def constants_as(value: float, reference: Information) -> Information:
    """Return an answer that is right but for constant dimensions."""

    def answer(h: Tensor, known: Tensor) -> Tensor:
        return torch.where(is_constant(h), value, reference(h, known))

    return answer


NAN_FOR_CONSTANTS = (
    "a dimension that does not vary gives 0 / 0, NaN: return 0 there. Such a dimension has the "
    "same number everywhere; (h != h[0]).any(0) is True where one varies."
)


MORE_FOR_CONSTANTS = (
    "a dimension that does not vary gets a share other than 0. The mean of equal numbers rounds, "
    "so their sum of squares about it is not always 0: ask whether the numbers differ, "
    "(h != h[0]).any(0), in place of total > 0."
)


def add_constants(exercise: Exercise) -> None:
    """Add to an exercise the answers that are right but for constant dimensions."""
    for name, sentence, value in (
        ("NaN for a constant dimension", NAN_FOR_CONSTANTS, torch.nan),
        ("more than 0 for a constant dimension", MORE_FOR_CONSTANTS, 1.0),
    ):
        exercise.mistake(name, sentence)(constants_as(value, exercise.reference))


def say_of_constants(observed: Tensor) -> str | None:
    """Say what is wrong with the last two dimensions, if they are what is wrong.

    Where sums round as they should not in some cases only, no mistake is recognized.
    """
    if observed.shape != (6,) or observed.is_meta or not observed.is_floating_point():
        return None
    last = observed[-2:]
    if bool(last.isnan().any()):
        return NAN_FOR_CONSTANTS
    return MORE_FOR_CONSTANTS if bool(last.any()) else None


def sum_of_squares(h: Tensor) -> Tensor:
    return (h - h.mean(0)).square().sum(0)
