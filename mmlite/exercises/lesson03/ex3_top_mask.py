"""Exercise 03.3: a mask of the best dimensions."""

import torch
from torch import Generator, Tensor

from mmlite import mask_study
from mmlite.exercises.exercise import Exercise


def draw(generator: Generator, size: int) -> tuple[Tensor, float]:
    share = 0.3 + 0.4 * float(torch.rand((), generator=generator))
    if size <= 4:
        share = share / (4 * size)  # of so few, share * D rounds to 0, and one is to be kept
    return torch.rand(size, generator=generator), round(share, 2)


exercise = Exercise(
    id="03.3",
    title="a mask of the best dimensions",
    points=1,
    minutes=10,
    difficulty=1,
    function="my_top_mask",
    reference=mask_study.top_mask,
    home="mmlite.mask_study.top_mask",
    draw=draw,
    sizes=(4, 10, 33),
    hidden_sizes=(5, 128),
    tolerance=0,
    why_tolerance="a dimension is kept or not, and random numbers do not tie",
)


def _order(scores: Tensor) -> Tensor:
    return scores.argsort(descending=True, stable=True)


def _count(scores: Tensor, share: float) -> int:
    return max(1, round(share * len(scores)))


def _as_mask(scores: Tensor, kept: Tensor) -> Tensor:
    mask = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    mask[kept] = True
    return mask


@exercise.mistake(
    "lowest kept", "the dimensions with the least were kept: sort in descending order."
)
def _lowest_kept(scores, share):
    return _as_mask(scores, _order(-scores)[: _count(scores, share)])


@exercise.mistake(
    "threshold",
    "share counts dimensions, it is not a threshold of their scores: keep "
    "the round(share · D) best.",
)
def _threshold(scores, share):
    return scores > share


@exercise.mistake(
    "kept and dropped exchanged",
    "True and False are exchanged: the mask is True where a dimension is kept.",
)
def _kept_and_dropped_exchanged(scores, share):
    return ~_as_mask(scores, _order(scores)[: _count(scores, share)])


@exercise.mistake("share dropped", "share · D dimensions were dropped: share · D are to be kept.")
def _share_dropped(scores, share):
    return _as_mask(
        scores,
        _order(scores)[: len(scores) - _count(scores, share)],
    )


@exercise.mistake(
    "first dimensions", "the first dimensions were kept, whatever they hold: sort by scores."
)
def _first_dimensions(scores, share):
    return _as_mask(
        scores,
        torch.arange(_count(scores, share), device=scores.device),
    )


@exercise.mistake(
    "none kept",
    "round(share · D) is 0 for a small share, and then no dimension was kept: keep at least one.",
)
def _none_kept(scores, share):
    return _as_mask(scores, _order(scores)[: round(share * len(scores))])


@exercise.mistake(
    "indices",
    "these are the indices of the best dimensions: return a mask, True at these "
    "places, of the shape of scores.",
)
def _indices(scores, share):
    return _order(scores)[: _count(scores, share)]
