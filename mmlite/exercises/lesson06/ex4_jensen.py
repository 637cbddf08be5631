"""Exercise 06.4: what is lost where a class is replaced by its mean."""

import math

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson06.ex1_mean_risk import shares_and_means
from mmlite.exercises.lesson06.features import labels_of, views_of


def jensen(g: Tensor, labels: Tensor) -> Tensor:
    """Return J = E[log E₋ exp(g·g⁻) − log Σ_k π_k exp(g·μ_k)] of features g [M, D], J ≥ 0."""
    share, mean = shares_and_means(g, labels)
    log_negatives = (g @ g.T).logsumexp(1) - math.log(len(g))
    return (log_negatives - (g @ mean.T + share.log()).logsumexp(1)).mean()


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    labels = labels_of(generator, size)
    f, _ = views_of(generator, labels)
    return 2 * f, labels


exercise = Exercise(
    id="06.4",
    title="the price of a mean",
    points=2,
    minutes=20,
    difficulty=3,
    function="my_jensen",
    reference=jensen,
    home="mmlite.exercises.lesson06.jensen",
    draw=draw,
    sizes=(4, 12, 40),
    hidden_sizes=(7, 100),
    tolerance=1e-4,
    why_tolerance="float32 rounds the difference of two logarithms of a few units by about 1e-6; "
    "1e-4 leaves room for any order of the sums",
)


@exercise.mistake(
    "sign",
    "the sign is wrong: by Jensen's inequality the mean of exp is at least exp of the mean, so J "
    "is at least 0.",
)
def _sign(g, labels):
    return -jensen(g, labels)


@exercise.mistake(
    "classes alike",
    "each class has the same weight here: the mean over all negatives weighs a class by its "
    "share π.",
)
def _classes_alike(g, labels):
    share, mean = shares_and_means(g, labels)
    log_negatives = (g @ g.T).logsumexp(1) - math.log(len(g))
    return (log_negatives - (g @ mean.T).logsumexp(1) + math.log(len(share))).mean()


@exercise.mistake(
    "no shares",
    "the second logarithm is of a sum without the shares π: both are logarithms of means.",
)
def _no_shares(g, labels):
    _, mean = shares_and_means(g, labels)
    log_negatives = (g @ g.T).logsumexp(1) - math.log(len(g))
    return (log_negatives - (g @ mean.T).logsumexp(1)).mean()


@exercise.mistake(
    "sum over negatives",
    "the first logarithm is of a sum over the negatives: take their mean.",
)
def _sum_over_negatives(g, labels):
    return jensen(g, labels) + math.log(len(g))


@exercise.mistake(
    "one mean",
    "all negatives were replaced by one mean: each class is replaced by its own.",
)
def _one_mean(g, labels):
    return jensen(g, torch.zeros_like(labels))


@exercise.mistake(
    "means of length 1",
    "the means were divided by their lengths: a class whose features differ has a short mean, and "
    "that is what J is about.",
)
def _means_of_length_1(g, labels):
    share, mean = shares_and_means(g, labels)
    mean = mean * g.norm(dim=1).mean() / mean.norm(dim=1, keepdim=True)
    log_negatives = (g @ g.T).logsumexp(1) - math.log(len(g))
    return (log_negatives - (g @ mean.T + share.log()).logsumexp(1)).mean()
