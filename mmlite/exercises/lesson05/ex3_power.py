"""Exercise 05.3: power, by simulation."""

import math

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def simulated_power(noise: Tensor, effect: float, quantile: float) -> Tensor:
    """Return the share of simulated trials whose one-sided paired t-test finds the effect.

    Args:
        noise: differences of trials in which there is no effect, [T, n].
        effect: what is added to each difference.
        quantile: the t statistic has to be above it.
    """
    return (statistic(noise + effect) > quantile).to(noise.dtype).mean()


def statistic(difference: Tensor) -> Tensor:
    """Return each trial's t statistic [T] of its differences [T, n]."""
    return difference.mean(1) / (difference.std(1) / math.sqrt(difference.shape[1]))


def draw(generator: Generator, size: int) -> tuple[Tensor, float, float]:
    """Return some 400 trials, none of them so near the quantile that rounding could turn it."""
    noise = 1.1 * torch.randn(400, size, generator=generator)
    effect = float(1.6 / math.sqrt(size) * (1 + torch.rand((), generator=generator)))
    effect, quantile = round(effect, 3), 2.0
    clear = (statistic(noise + effect) - quantile).abs() > 1e-3
    return noise[clear], effect, quantile


exercise = Exercise(
    id="05.3",
    title="power",
    points=2,
    minutes=20,
    difficulty=3,
    function="my_power",
    reference=simulated_power,
    home="mmlite.exercises.lesson05.simulated_power",
    draw=draw,
    sizes=(5, 10, 20),
    hidden_sizes=(3, 40),
    tolerance=1e-4,
    why_tolerance="no trial is near enough to the quantile for rounding to turn it, and one of 400 "
    "is 25 times as much; 1e-4 leaves room for another precision",
)


@exercise.mistake(
    "no effect",
    "the effect was not added: this is how often the test finds one where there is none.",
)
def _no_effect(noise, effect, quantile):
    return simulated_power(noise, 0.0, quantile)


@exercise.mistake(
    "missed", "this is how often the effect is missed: power is how often it is found."
)
def _missed(noise, effect, quantile):
    return 1 - simulated_power(noise, effect, quantile)


@exercise.mistake(
    "deviation of a seed",
    "the mean was divided by the deviation of a single seed: the mean of n of them strays √n times "
    "less.",
)
def _deviation_of_a_seed(noise, effect, quantile):
    difference = noise + effect
    return (difference.mean(1) / difference.std(1) > quantile).to(noise.dtype).mean()


@exercise.mistake(
    "one deviation for all",
    "all trials share one deviation here: each trial knows its own seeds alone, and estimates the "
    "deviation from them.",
)
def _one_deviation_for_all(noise, effect, quantile):
    error = noise.std() / math.sqrt(noise.shape[1])
    return ((noise + effect).mean(1) / error > quantile).to(noise.dtype).mean()


@exercise.mistake(
    "each seed", "each seed was tested by itself: a trial has one mean and one verdict."
)
def _each_seed(noise, effect, quantile):
    error = noise.std(1, keepdim=True) / math.sqrt(noise.shape[1])
    return ((noise + effect) / error > quantile).to(noise.dtype).mean()
