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
    difference = noise + effect
    t = difference.mean(1) / (difference.std(1) / math.sqrt(noise.shape[1]))
    return (t > quantile).to(noise.dtype).mean()


def draw(generator: Generator, size: int) -> tuple[Tensor, float, float]:
    noise = 1.1 * torch.randn(400, size, generator=generator)
    effect = float(1.6 / math.sqrt(size) * (1 + torch.rand((), generator=generator)))
    return noise, round(effect, 3), 2.0


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
    tolerance=6e-3,
    why_tolerance="a share of 400 trials; rounding may turn two of them",
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
