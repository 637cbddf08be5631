"""Cross-correlation with its typical mistakes, and the sentences on them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def draw_views(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return two views whose dimensions have means and deviations of their own."""
    dim = 4
    shared = torch.randn(size, dim, generator=generator)
    views = [shared + 0.7 * torch.randn(size, dim, generator=generator) for _ in range(2)]
    scale = 0.5 + 2 * torch.rand(2, dim, generator=generator)
    shift = 3 * torch.randn(2, dim, generator=generator)
    z1, z2 = (z * s + m for z, s, m in zip(views, scale, shift, strict=True))
    return z1, z2


def correlate(
    z1: Tensor,
    z2: Tensor,
    axis: int = 0,
    center: bool = True,
    scale: bool = True,
    correction: tuple[int, int] = (0, 0),
    rows: bool = False,
) -> Tensor:
    """Return the cross-correlation as its equation is read, or read wrongly.

    `correction` is what is taken off N in the deviation and in the mean of the products.
    """

    def standard(z):
        centered = z - z.mean(axis, keepdim=True) if center else z
        squares = centered.square().sum(axis, keepdim=True)
        deviation = (squares / (z.shape[axis] - correction[0])).sqrt()
        return centered / deviation if scale else centered

    a, b = standard(z1), standard(z2)
    product = a @ b.T if rows else a.T @ b
    return product / (z1.shape[1 if rows else 0] - correction[1])


def off_diagonal_entries(correlation: Tensor) -> Tensor:
    return correlation[~torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)]


MIXED = (
    "two deviations are mixed, so that C of a dimension with itself is not 1: torch's std divides "
    "by N − 1 where the mean of the products divides by N. Use one of them for both "
    "(std(correction=0))."
)
# how the equation is misread, and what `correlate` makes of it
MISREADINGS = (
    (
        "centring forgotten",
        "centring was forgotten: subtract from each dimension its mean over the batch before "
        "anything else.",
        {"center": False},
    ),
    (
        "wrong axis",
        "the mean and deviation were taken over the dimensions of an image, not over the images of "
        "the batch: use dim=0.",
        {"axis": 1},
    ),
    ("mixed deviation", MIXED, {"correction": (1, 0)}),
    ("mixed deviation, the other way", MIXED, {"correction": (0, 1)}),
    (
        "covariance",
        "this is the covariance: divide each dimension by its deviation over the batch.",
        {"scale": False},
    ),
)


def add_misreadings(exercise: Exercise, read: Callable[..., Tensor]) -> None:
    """Add to an exercise what comes of each misreading.

    Args:
        exercise: whose answer is made of a cross-correlation.
        read: the answer, with the arguments of `correlate` that misread as further ones.
    """
    for name, sentence, misread in MISREADINGS:
        exercise.mistake(name, sentence)(partial(read, **misread))
