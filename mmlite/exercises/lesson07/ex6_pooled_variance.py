"""Exercise 07.6: one variance out of several."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import draw_whole


def pooled_variance(counts: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Return the biased variance [C] of all values, given those of R parts.

    Args:
        counts: values in each part, float [R].
        means: of each part, [R, C].
        variances: of each part, biased, [R, C].
    """
    share = (counts / counts.sum())[:, None]
    mean = (share * means).sum(0)
    return (share * (variances + (means - mean).square())).sum(0)


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    counts = 1.0 + torch.tensor([draw_whole(generator, 1, 4) for _ in range(size)]).cumsum(0)
    return (
        counts,
        2 * torch.randn(size, 3, generator=generator),
        0.5 + torch.rand(size, 3, generator=generator),
    )


exercise = Exercise(
    id="07.6",
    title="one variance out of several",
    points=3,
    minutes=20,
    difficulty=3,
    function="my_pooled_variance",
    reference=pooled_variance,
    home="mmlite.exercises.lesson07.pooled_variance",
    draw=draw,
    sizes=(2, 3),
    hidden_sizes=(8,),
    tolerance=1e-4,
    why_tolerance="sums of a few dozen float32 products round by about 1e-6",
)


@exercise.mistake(
    "within alone", "this is the mean of the variances: that the parts' means differ adds to it."
)
def _within(counts, means, variances):
    return (counts[:, None] * variances).sum(0) / counts.sum()


@exercise.mistake("parts alike", "each part counts alike here: weight it by its number of values.")
def _all_alike(counts, means, variances):
    return pooled_variance(torch.ones_like(counts), means, variances)


@exercise.mistake(
    "a plain mean in the middle",
    "the distance is taken from the mean of the means; the mean of all values weights "
    "them by their counts.",
)
def _around_plain_mean(counts, means, variances):
    share = (counts / counts.sum())[:, None]
    return (share * (variances + (means - means.mean(0)).square())).sum(0)


@exercise.mistake(
    "unbiased",
    "this is divided by one less than the count; BatchNorm normalizes with the biased variance.",
)
def _unbiased(counts, means, variances):
    return pooled_variance(counts, means, variances) * counts.sum() / (counts.sum() - 1)


@exercise.mistake(
    "a plain mean of the variances",
    "this is the plain mean of the variances: weight them by their counts, and add what the means "
    "differ by.",
)
def _plain_mean(counts, means, variances):
    return variances.mean(0)
