"""Exercise 05.4: several comparisons."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def holm(p: Tensor) -> Tensor:
    """Return p-values [m] adjusted by Holm's method, in the order given.

    The least is multiplied by m, the next by m − 1, and so on; none is less than one before it,
    nor above 1.
    """
    order = p.argsort()
    left = torch.arange(len(p), 0, -1, device=p.device)
    adjusted = (p[order] * left).cummax(0).values.clamp(max=1)
    return torch.empty_like(p).scatter_(0, order, adjusted)


def draw(generator: Generator, size: int) -> tuple[Tensor]:
    """Return p-values: three of no effects, or more of them, some of which are small."""
    p = torch.rand(size, generator=generator)
    return (0.35 + 0.6 * p if size == 3 else 0.6 * p.pow(2.5),)


exercise = Exercise(
    id="05.4",
    title="several comparisons",
    points=2,
    minutes=20,
    difficulty=3,
    function="my_holm",
    reference=holm,
    home="mmlite.holm",
    draw=draw,
    sizes=(3, 6, 12),
    hidden_sizes=(1, 25),
    tolerance=1e-4,
    why_tolerance="products of float32 numbers; 1e-4 leaves room for another precision",
)


def _ranked(p: Tensor) -> Tensor:
    """Return each p-value's rank, 0 for the least, in the order given."""
    return p.argsort().argsort()


@exercise.mistake("uncorrected", "these are the p-values as they were: nothing was corrected.")
def _uncorrected(p):
    return p.clone()


@exercise.mistake(
    "Bonferroni",
    "this is Bonferroni's rule, m times each: right, but too strict. Once the least is dealt with, "
    "m − 1 are left.",
)
def _bonferroni(p):
    return (p * len(p)).clamp(max=1)


@exercise.mistake(
    "Benjamini and Hochberg",
    "m / rank times each is Benjamini and Hochberg's rule, which bounds the share of false finds: "
    "Holm's bounds the chance of a single one, m − rank + 1 times each.",
)
def _benjamini_hochberg(p):
    order = p.argsort(descending=True)
    rank = torch.arange(len(p), 0, -1, device=p.device)
    adjusted = (p[order] * len(p) / rank).cummin(0).values.clamp(max=1)
    return torch.empty_like(p).scatter_(0, order, adjusted)


@exercise.mistake(
    "may fall",
    "an adjusted value is less here than that of a smaller p: none may be less than one before it.",
)
def _may_fall(p):
    return (p * (len(p) - _ranked(p))).clamp(max=1)


@exercise.mistake(
    "sorted", "the values stand in the order of their size: return them in the order given."
)
def _sorted(p):
    return holm(p).sort().values


@exercise.mistake("above 1", "a p-value is a probability: cut it off at 1.")
def _above_1(p):
    order = p.argsort()
    left = torch.arange(len(p), 0, -1, device=p.device)
    return torch.empty_like(p).scatter_(0, order, (p[order] * left).cummax(0).values)


@exercise.mistake(
    "factors the other way",
    "the least was multiplied by 1 and the greatest by m: the least has to stand against all m.",
)
def _factors_the_other_way(p):
    order = p.argsort()
    factor = torch.arange(1, len(p) + 1, device=p.device)
    adjusted = (p[order] * factor).cummax(0).values.clamp(max=1)
    return torch.empty_like(p).scatter_(0, order, adjusted)
