"""Exercise 05.5: better, as good, or not known."""

import math

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise

BETTER, EQUIVALENT, UNDECIDED = 1.0, 0.0, -1.0


def verdict(difference: Tensor, margin: float, quantile: float) -> Tensor:
    """Return each comparison's verdict [K]: 1 better, 0 equivalent, −1 undecided.

    By the interval mean ± quantile · s / √n: better if it lies above 0, else equivalent if it lies
    within ±margin (which is two one-sided tests, Schuirmann 1987), else undecided.

    Args:
        difference: of n seeds in K comparisons, [K, n].
        margin: the least difference that would matter.
        quantile: of the t law with n − 1 degrees of freedom.
    """
    low, high = ends(difference, quantile)
    within = (low > -margin) & (high < margin)
    other = torch.where(within, EQUIVALENT, UNDECIDED)
    return torch.where(low > 0, BETTER, other)


def ends(difference: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    """Return the ends of each comparison's interval, [K] each."""
    reach = quantile * difference.std(1) / math.sqrt(difference.shape[1])
    return difference.mean(1) - reach, difference.mean(1) + reach


def draw(generator: Generator, size: int) -> tuple[Tensor, float, float]:
    """Return comparisons, quiet and noisy, about nothing and about something, margin 1."""
    mean = 3 * torch.rand(size, 1, generator=generator) - 1.5
    spread = torch.tensor([0.3, 1.0, 3.0])[torch.randint(0, 3, (size, 1), generator=generator)]
    mean = torch.where(torch.rand(size, 1, generator=generator) < 0.5, mean / 6, mean)
    return mean + spread * torch.randn(size, 8, generator=generator), 1.0, 2.365


exercise = Exercise(
    id="05.5",
    title="better, as good, or not known",
    points=2,
    minutes=20,
    difficulty=3,
    function="my_verdict",
    reference=verdict,
    home="mmlite.exercises.lesson05.verdict",
    draw=draw,
    sizes=(30, 60),
    hidden_sizes=(100, 200),
    tolerance=1e-6,
    why_tolerance="the verdicts are whole numbers",
)


@exercise.mistake(
    "not significant, so equal",
    "what is not significant was called equivalent: with few or noisy seeds nothing is "
    "significant. Equivalent means that the interval excludes every difference that matters.",
)
def _not_significant_so_equal(difference, margin, quantile):
    low, _ = ends(difference, quantile)
    return torch.where(low > 0, BETTER, EQUIVALENT)


@exercise.mistake(
    "mean within the margin",
    "the mean lies within the margin, but its interval need not: where it reaches beyond, a "
    "difference that matters is not excluded.",
)
def _mean_within_the_margin(difference, margin, quantile):
    low, _ = ends(difference, quantile)
    other = torch.where(difference.mean(1).abs() < margin, EQUIVALENT, UNDECIDED)
    return torch.where(low > 0, BETTER, other)


@exercise.mistake(
    "one end",
    "only the upper end was compared with the margin: the lower one may lie far below.",
)
def _one_end(difference, margin, quantile):
    low, high = ends(difference, quantile)
    other = torch.where(high < margin, EQUIVALENT, UNDECIDED)
    return torch.where(low > 0, BETTER, other)


@exercise.mistake(
    "equivalent first",
    "an interval above 0 and within the margin was called equivalent: superiority is asked first.",
)
def _equivalent_first(difference, margin, quantile):
    low, high = ends(difference, quantile)
    other = torch.where(low > 0, BETTER, UNDECIDED)
    return torch.where((low > -margin) & (high < margin), EQUIVALENT, other)


@exercise.mistake(
    "mean above 0",
    "a mean above 0 was called better: half of all methods that do nothing have one. The whole "
    "interval has to lie above 0.",
)
def _mean_above_0(difference, margin, quantile):
    return torch.where(difference.mean(1) > 0, BETTER, verdict(difference, margin, quantile))


@exercise.mistake(
    "better by the margin",
    "better was said only of what lies above the margin: here the question is whether it is above "
    "0; the margin is for equivalence.",
)
def _better_by_the_margin(difference, margin, quantile):
    low, high = ends(difference, quantile)
    other = torch.where((low > -margin) & (high < margin), EQUIVALENT, UNDECIDED)
    return torch.where(low > margin, BETTER, other)


@exercise.mistake(
    "deviation of a seed",
    "these intervals are of a single seed: divide the deviation by √n, for the mean.",
)
def _deviation_of_a_seed(difference, margin, quantile):
    return verdict(difference, margin, quantile * math.sqrt(difference.shape[1]))
