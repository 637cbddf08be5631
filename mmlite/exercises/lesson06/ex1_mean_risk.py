"""Exercise 06.1: the cross-entropy of the mean classifier."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson06.features import labels_of, views_of


def mean_risk(g: Tensor, labels: Tensor) -> Tensor:
    """Return CE, the mean over features g [M, D] of −log(π_y exp(g·μ_y) / Σ_k π_k exp(g·μ_k))."""
    share, mean = shares_and_means(g, labels)
    return F.cross_entropy(g @ mean.T + share.log(), labels)


def shares_and_means(g: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes' shares π [K] and the means μ of their features [K, D]."""
    member = F.one_hot(labels).to(g.dtype)  # [M, K]
    return member.mean(0), member.T @ g / member.sum(0)[:, None]


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    labels = labels_of(generator, size)
    f, _ = views_of(generator, labels)
    return 2 * f, labels  # τ = 1/4


exercise = Exercise(
    id="06.1",
    title="the mean classifier's cross-entropy",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_mean_risk",
    reference=mean_risk,
    home="mmlite.exercises.lesson06.mean_risk",
    draw=draw,
    sizes=(4, 12, 40),
    hidden_sizes=(7, 100),
    tolerance=1e-4,
    why_tolerance="float32 rounds a mean of some hundred logarithms by about 1e-6; 1e-4 leaves "
    "room for any order of the sums",
)


@exercise.mistake(
    "no shares",
    "the shares of the classes are missing: a class that is seen more often is also the better "
    "guess, so its score is g·μ plus the logarithm of its share.",
)
def _no_shares(g, labels):
    _, mean = shares_and_means(g, labels)
    return F.cross_entropy(g @ mean.T, labels)


@exercise.mistake(
    "means of length 1",
    "the means were divided by their lengths: how short a mean is says how far its class is "
    "spread, and that counts.",
)
def _means_of_length_1(g, labels):
    share, mean = shares_and_means(g, labels)
    return F.cross_entropy(g @ F.normalize(mean, dim=1).T + share.log(), labels)


@exercise.mistake(
    "shares without a logarithm",
    "the shares were added to the scores as they are: π exp(g·μ) is exp(g·μ + log π).",
)
def _shares_without_a_logarithm(g, labels):
    share, mean = shares_and_means(g, labels)
    return F.cross_entropy(g @ mean.T + share, labels)


@exercise.mistake("sum", "this is the sum over the features: take the mean.")
def _sum(g, labels):
    return mean_risk(g, labels) * len(g)


@exercise.mistake("base 2", "these are bits: take the natural logarithm, whose unit is the nat.")
def _base_2(g, labels):
    return mean_risk(g, labels) / math.log(2)


@exercise.mistake("sign", "the sign is wrong: a cross-entropy is minus the mean of a logarithm.")
def _sign(g, labels):
    return -mean_risk(g, labels)


@exercise.mistake(
    "distances",
    "these scores are distances from the means: the classifier here takes the product g·μ, "
    "without the means' lengths.",
)
def _distances(g, labels):
    share, mean = shares_and_means(g, labels)
    return F.cross_entropy(-torch.cdist(g, mean).square() / 2 + share.log(), labels)
