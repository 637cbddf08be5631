"""Exercise 02.5: effective rank."""

import math

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def effective_rank(singular_values: Tensor) -> Tensor:
    """Return exp of the entropy of the singular values [R], all > 0, as shares of their sum."""
    share = singular_values / singular_values.sum()
    return torch.special.entr(share).sum().exp()


def draw(generator: Generator, size: int) -> tuple[Tensor]:
    values = 0.05 + 3 * torch.rand(size, generator=generator)
    return (values.sort(descending=True).values,)


exercise = Exercise(
    id="02.5",
    title="effective rank",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_effective_rank",
    reference=effective_rank,
    home="mmlite.exercises.lesson02.effective_rank",
    draw=draw,
    sizes=(2, 5, 20),
    hidden_sizes=(3, 200),
    tolerance=1e-4,
    why_tolerance="float32 rounds the entropy of up to 200 shares by about 1e-6, and exp makes "
    "that relative; 1e-4 leaves room for any order of the sums and for a small number inside "
    "the logarithm",
)


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


@exercise.mistake("entropy", "this is the entropy: the effective rank is its exponential.")
def _entropy_(s):
    return _entropy(s / s.sum())


@exercise.mistake("sign", "the sign of the entropy is wrong: it is minus the sum of p log p.")
def _sign(s):
    return torch.exp(-_entropy(s / s.sum()))


@exercise.mistake(
    "squares",
    "the squares of the singular values were made shares: Roy and Vetterli take the "
    "singular values themselves.",
)
def _squares(s):
    return _entropy(s.square() / s.square().sum()).exp()


@exercise.mistake(
    "divided by the greatest",
    "the singular values were divided by the greatest: shares have the sum 1, so "
    "divide by the sum.",
)
def _divided_by_the_greatest(s):
    return _entropy(s / s.max()).exp()


@exercise.mistake(
    "base 2", "the logarithm has base 2 and the exponential base e: use one base for both."
)
def _base_2(s):
    return (_entropy(s / s.sum()) / math.log(2)).exp()


@exercise.mistake(
    "participation ratio",
    "this is the participation ratio, 1 / Σ p²: a good number, but not the exponential "
    "of the entropy.",
)
def _participation_ratio(s):
    return 1 / (s / s.sum()).square().sum()


@exercise.mistake(
    "count",
    "this is the number of singular values that are not 0, the ordinary rank: small "
    "ones should count less.",
)
def _count(s):
    return torch.tensor(float(len(s)), device=s.device)
