"""Exercise 01.1: cosine similarity of all pairs."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.exercises.exercise import Exercise


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine [N, M] of the angle between each row of a [N, P] and each of b [M, P]."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    return (
        3 * torch.randn(size, 4, generator=generator),
        0.5 * torch.randn(size + 1, 4, generator=generator),
    )


exercise = Exercise(
    id="01.1",
    title="cosine similarity of all pairs",
    points=1,
    minutes=5,
    difficulty=1,
    function="my_cosine_similarity",
    reference=cosine_similarity,
    home="mmlite.exercises.lesson01.cosine_similarity",
    draw=draw,
    sizes=(1, 3, 8),
    hidden_sizes=(2, 50),
    tolerance=1e-5,
    why_tolerance="float32 rounds products of unit vectors by about 1e-7; 1e-5 leaves room "
    "for any order of the sums",
)


@exercise.mistake(
    "no normalization", "this is the dot product: divide each row by its length first."
)
def _no_normalization(a, b):
    return a @ b.T


@exercise.mistake(
    "wrong axis",
    "the columns were normalized, not the rows: a row is a vector, so take the norm along dim=1.",
)
def _wrong_axis(a, b):
    return F.normalize(a, dim=0) @ F.normalize(b, dim=0).T


@exercise.mistake(
    "one side normalized", "the rows of a have length 1, those of b have not: normalize both."
)
def _one_side_normalized(a, b):
    return F.normalize(a, dim=1) @ b.T


@exercise.mistake(
    "squared norm", "each row was divided by its squared length: take the square root."
)
def _squared_norm(a, b):
    return (a / a.square().sum(1, keepdim=True)) @ (b / b.square().sum(1, keepdim=True)).T


@exercise.mistake(
    "distance",
    "this is the distance between the unit vectors: similarity grows as it shrinks. "
    "Multiply the unit vectors instead.",
)
def _distance(a, b):
    return torch.cdist(F.normalize(a, dim=1), F.normalize(b, dim=1))
