"""Exercise 03.3: a mask of the best dimensions."""

import torch
from torch import Generator, Tensor

from mmlite import confounders as course
from mmlite.exercises.exercise import Exercise


def draw(generator: Generator, size: int) -> tuple[Tensor, float]:
    keep = 0.3 + 0.4 * float(torch.rand((), generator=generator))
    if size <= 4:
        keep = keep / (4 * size)  # of so few, keep * D rounds to 0, and one is to be kept
    return torch.rand(size, generator=generator), round(keep, 2)


exercise = Exercise(
    id="03.3",
    title="a mask of the best dimensions",
    points=1,
    minutes=10,
    difficulty=1,
    function="my_top_mask",
    reference=course.top_mask,
    home="mmlite.confounders.top_mask",
    draw=draw,
    sizes=(4, 10, 33),
    hidden_sizes=(5, 128),
    tolerance=0,
    why_tolerance="a dimension is kept or not, and random numbers do not tie",
)


def _order(information: Tensor) -> Tensor:
    return information.argsort(descending=True, stable=True)


def _count(information: Tensor, keep: float) -> int:
    return max(1, round(keep * len(information)))


def _as_mask(information: Tensor, kept: Tensor) -> Tensor:
    mask = torch.zeros(len(information), dtype=torch.bool, device=information.device)
    mask[kept] = True
    return mask


@exercise.mistake(
    "lowest kept", "the dimensions with the least were kept: sort in descending order."
)
def _lowest_kept(information, keep):
    return _as_mask(information, _order(-information)[: _count(information, keep)])


@exercise.mistake(
    "threshold",
    "keep is a share of the dimensions, not a threshold of their information: keep "
    "the round(keep · D) best.",
)
def _threshold(information, keep):
    return information > keep


@exercise.mistake(
    "kept and dropped exchanged",
    "True and False are exchanged: the mask is True where a dimension is kept.",
)
def _kept_and_dropped_exchanged(information, keep):
    return ~_as_mask(information, _order(information)[: _count(information, keep)])


@exercise.mistake("share dropped", "keep · D dimensions were dropped: keep · D are to be kept.")
def _share_dropped(information, keep):
    return _as_mask(
        information,
        _order(information)[: len(information) - _count(information, keep)],
    )


@exercise.mistake(
    "first dimensions", "the first dimensions were kept, whatever they hold: sort by information."
)
def _first_dimensions(information, keep):
    return _as_mask(
        information,
        torch.arange(_count(information, keep), device=information.device),
    )


@exercise.mistake(
    "none kept",
    "round(keep · D) is 0 for a small share, and then no dimension was kept: keep at least one.",
)
def _none_kept(information, keep):
    return _as_mask(information, _order(information)[: round(keep * len(information))])


@exercise.mistake(
    "indices",
    "these are the indices of the best dimensions: return a mask, True at these "
    "places, of the shape of information.",
)
def _indices(information, keep):
    return _order(information)[: _count(information, keep)]
