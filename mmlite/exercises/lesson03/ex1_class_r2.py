"""Exercise 03.1: what the class explains of a dimension."""

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
    """Return representations that follow the class more or less; classes differ in size."""
    labels = torch.randint(0, 3, (size,), generator=generator) * torch.randint(
        0, 2, (size,), generator=generator
    )
    labels[:3] = torch.arange(3)
    means = 2 * torch.randn(3, 4, generator=generator)
    share = torch.rand(4, generator=generator)
    h = share * means[labels] + torch.randn(size, 4, generator=generator)
    return with_constants(2 * h + 3 * torch.randn(4, generator=generator), generator), labels


exercise = Exercise(
    id="03.1",
    title="what the class explains of a dimension",
    points=2,
    minutes=20,
    difficulty=3,
    function="my_class_r2",
    reference=course.class_r2,
    home="mmlite.confounders.class_r2",
    draw=draw,
    sizes=(6, 12, 40),
    hidden_sizes=(5, 200),
    tolerance=1e-4,
    why_tolerance="float32 loses about 1e-6 where a mean of 3 deviations is subtracted; 1e-4 "
    "leaves room for any order of the sums",
    observe=constants_last(course.class_r2, 1e-4),
    explain=say_of_constants,
)


def _class_means(h: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [classes, D] and the number [classes] of each class that occurs."""
    classes, count = labels.unique(return_counts=True)
    return torch.stack([h[labels == c].mean(0) for c in classes]), count


def _between(h: Tensor, labels: Tensor, grand: Tensor | float, weighted: bool = True) -> Tensor:
    """Return the sum of squares [D] of the class means about `grand`, for every image."""
    means, count = _class_means(h, labels)
    squares = (means - grand).square()
    return (squares * count[:, None]).sum(0) if weighted else squares.mean(0) * len(h)


def _explained_by_class(h: Tensor, labels: Tensor) -> Tensor:
    return _between(h, labels, h.mean(0)) / sum_of_squares(h)


@exercise.mistake("what is left", "this is what the class leaves unexplained: take it from 1.")
def _what_is_left(h, labels):
    return 1 - _explained_by_class(h, labels)


@exercise.mistake(
    "between over within",
    "this is the variation between classes over that within them: divide by all "
    "variation, for a share in 0..1.",
)
def _ratio_of_between_to_within(h, labels):
    between = _between(h, labels, h.mean(0))
    return between / (sum_of_squares(h) - between)


@exercise.mistake(
    "classes not weighted",
    "each class counts the same here: weigh the square of a class mean by the number "
    "of its images.",
)
def _means_not_weighted(h, labels):
    return _between(h, labels, h.mean(0), weighted=False) / sum_of_squares(h)


@exercise.mistake(
    "grand mean forgotten",
    "the class means are squared as they are: subtract the mean of all images first.",
)
def _grand_mean_forgotten(h, labels):
    return _between(h, labels, 0.0) / sum_of_squares(h)


@exercise.mistake(
    "total not centered", "the total is a sum of squares about 0: take it about the mean."
)
def _total_not_centered(h, labels):
    return _between(h, labels, h.mean(0)) / h.square().sum(0)


@exercise.mistake(
    "all dimensions together",
    "each dimension's variation was divided by that of all dimensions: divide by its own.",
)
def _all_dimensions_together(h, labels):
    return _between(h, labels, h.mean(0)) / sum_of_squares(h).sum()


@exercise.mistake("root", "this is the root, η: the share of the variance is its square.")
def _root(h, labels):
    return _explained_by_class(h, labels).sqrt()


add_constants(exercise)
