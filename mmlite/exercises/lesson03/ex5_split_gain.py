"""Exercise 03.5: a gain that is not luck."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def split_gain(right: Tensor, whole_right: Tensor, first: Tensor) -> Tensor:
    """Return what the mask that is best on the images `first` gains on the other images.

    Args:
        right: which images [N] each mask reads rightly, bool [M, N].
        whole_right: which the whole representation reads rightly, bool [N].
        first: which images choose, bool [N].

    Returns:
        The difference of two accuracies, a scalar.
    """
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best, ~first]) - _accuracy(whole_right[~first])


def _accuracy(right: Tensor) -> Tensor:
    return right.float().mean()


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a study in which each part of the images, and all, have a best mask of their own."""
    images = 40
    first = torch.rand(images, generator=generator) < 0.5
    first[:2] = torch.tensor([True, False])
    right = torch.rand(size, images, generator=generator) < 0.4
    of_first, of_rest, of_all = torch.randperm(size, generator=generator)[:3].tolist()
    right[of_first] = first | (torch.rand(images, generator=generator) < 0.2)
    right[of_rest] = ~first | (torch.rand(images, generator=generator) < 0.2)
    right[of_all] = torch.rand(images, generator=generator) < 0.9
    right[of_all] &= _all_but_one(first) & _all_but_one(~first)
    return right, torch.rand(images, generator=generator) < 0.5, first


def _all_but_one(part: Tensor) -> Tensor:
    """Return all images but the first of a part."""
    kept = torch.ones_like(part)
    kept[part.nonzero()[0]] = False
    return kept


exercise = Exercise(
    id="03.5",
    title="a gain that is not luck",
    points=3,
    minutes=20,
    difficulty=3,
    function="my_split_gain",
    reference=split_gain,
    home="mmlite.exercises.lesson03.split_gain",
    draw=draw,
    sizes=(4, 10, 30),
    hidden_sizes=(5, 100),
    tolerance=1e-5,
    why_tolerance="the difference of two means of at most 40 zeros and ones, rounded to 1e-7",
)


@exercise.mistake(
    "judged where it was chosen",
    "the gain is measured on the very images that chose the mask, so luck counts as "
    "skill: measure it on the others.",
)
def _best_gain_where_chosen(right, whole_right, first):
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best, first]) - _accuracy(whole_right[first])


@exercise.mistake(
    "chosen where it is judged",
    "the mask was chosen on the images that judge it: choose on `first`, judge on the others.",
)
def _best_gain_on_the_rest(right, whole_right, first):
    best = right[:, ~first].sum(1).argmax()
    return _accuracy(right[best, ~first]) - _accuracy(whole_right[~first])


@exercise.mistake(
    "chosen on all",
    "all images chose the mask, those that judge it among them: choose on `first` alone.",
)
def _best_on_all(right, whole_right, first):
    best = right.sum(1).argmax()
    return _accuracy(right[best, ~first]) - _accuracy(whole_right[~first])


@exercise.mistake(
    "judged on all",
    "the gain is measured on all images, those that chose among them: leave `first` out.",
)
def _scored_on_all(right, whole_right, first):
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best]) - _accuracy(whole_right)


@exercise.mistake(
    "accuracy",
    "this is the mask's accuracy: subtract that of the whole representation on the same images.",
)
def _no_comparison(right, whole_right, first):
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best, ~first])


@exercise.mistake(
    "sign",
    "the difference has the wrong sign: a mask that is better than the whole has a gain above 0.",
)
def _sign(right, whole_right, first):
    return -split_gain(right, whole_right, first)
