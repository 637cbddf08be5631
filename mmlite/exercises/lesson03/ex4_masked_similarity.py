"""Exercise 03.4: similarity behind a mask."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.exercises.exercise import Exercise


def masked_similarity(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Return the cosines [N, M] of the rows of a [N, D] and b [M, D] in the dimensions kept."""
    return F.normalize(a[:, mask], dim=1) @ F.normalize(b[:, mask], dim=1).T


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.rand(size, generator=generator) < 0.5
    mask[:3] = torch.tensor([True, False, True])
    return (
        torch.randn(5, size, generator=generator),
        torch.randn(4, size, generator=generator),
        mask,
    )


exercise = Exercise(
    id="03.4",
    title="similarity behind a mask",
    points=2,
    minutes=10,
    difficulty=2,
    function="my_masked_similarity",
    reference=masked_similarity,
    home="mmlite.exercises.lesson03.masked_similarity",
    draw=draw,
    sizes=(4, 8, 20),
    hidden_sizes=(3, 128),
    tolerance=1e-5,
    why_tolerance="float32 rounds products of unit vectors by about 1e-7; 1e-5 leaves room "
    "for any order of the sums",
)


@exercise.mistake(
    "mask unused", "the mask is not used: leave out the dimensions where it is False."
)
def _mask_unused(a, b, mask):
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


@exercise.mistake(
    "mask after the length",
    "the rows were given length 1 before the mask: what is dropped still counts in "
    "their length. Mask first.",
)
def _mask_after_length(a, b, mask):
    return F.normalize(a, dim=1)[:, mask] @ F.normalize(b, dim=1)[:, mask].T


@exercise.mistake("one side whole", "only b was masked before its length was taken: mask both.")
def _one_side_whole(a, b, mask):
    return F.normalize(a, dim=1) @ F.normalize(b * mask, dim=1).T


@exercise.mistake(
    "no length", "this is the dot product of what is kept: divide each masked row by its length."
)
def _no_length(a, b, mask):
    return a[:, mask] @ b[:, mask].T


@exercise.mistake("other dimensions", "the mask was turned round: True means kept.")
def _other_dimensions(a, b, mask):
    return masked_similarity(a, b, ~mask)


@exercise.mistake(
    "dimensions in place of images",
    "the columns were normalized: a row is an image, so take the norm along dim=1.",
)
def _dimensions_in_place_of_images(a, b, mask):
    return F.normalize(a * mask, dim=0) @ F.normalize(b * mask, dim=0).T
