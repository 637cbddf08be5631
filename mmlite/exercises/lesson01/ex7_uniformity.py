"""Exercise 01.7: how evenly vectors spread."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite import contrastive
from mmlite.exercises.exercise import Exercise


def draw(generator: Generator, size: int) -> tuple[Tensor, float]:
    t = 0.5 + 1.5 * float(torch.rand((), generator=generator))
    return 1 + 2 * torch.randn(size, 3, generator=generator), round(t, 2)


exercise = Exercise(
    id="01.7",
    title="how evenly vectors spread",
    points=3,
    minutes=20,
    difficulty=3,
    function="my_uniformity",
    reference=contrastive.uniformity,
    home="mmlite.uniformity",
    draw=draw,
    sizes=(2, 4, 10),
    hidden_sizes=(3, 60),
    tolerance=1e-4,
    why_tolerance="the logarithm of a mean of float32 exponents rounds by about 1e-6; a diagonal "
    "left in changes 60 vectors by more than 1e-2",
)


def _kernel(z: Tensor, t: float, normalize: bool = True, power: int = 2) -> Tensor:
    """Return e^(−t · distance^power) of all pairs [N, N]."""
    u = F.normalize(z, dim=1) if normalize else z
    squared = (u[:, None] - u[None]).square().sum(2)
    return torch.exp(-t * (squared if power == 2 else squared.sqrt()))


def _log_mean_of_pairs(kernel: Tensor) -> Tensor:
    n = len(kernel)
    off = kernel.sum() - kernel.diagonal().sum()
    return (off / (n * (n - 1))).log()


@exercise.mistake(
    "a vector with itself",
    "each vector is paired with itself too, at distance 0: only pairs of different ones count.",
)
def _with_itself(z, t):
    return _kernel(z, t).mean().log()


@exercise.mistake(
    "pairs counted wrong",
    "the pairs of a vector with itself are left out of the sum, and not of the number it is "
    "divided by: there are N (N − 1) pairs, or half of it if each counts once.",
)
def _counted_wrong(z, t):
    kernel = _kernel(z, t)
    return ((kernel.sum() - kernel.diagonal().sum()) / len(z) ** 2).log()


@exercise.mistake(
    "half of the pairs, all counted",
    "each pair is summed once and counted twice: divide by N (N − 1) / 2.",
)
def _half(z, t):
    return _log_mean_of_pairs(_kernel(z, t)) - math.log(2)


@exercise.mistake("no normalization", "the vectors have any length here: divide each by its own.")
def _no_normalization(z, t):
    return _log_mean_of_pairs(_kernel(z, t, normalize=False))


@exercise.mistake("distance not squared", "the distance is to be squared.")
def _not_squared(z, t):
    return _log_mean_of_pairs(_kernel(z, t, power=1))


@exercise.mistake("no logarithm", "this is the mean itself: take its logarithm.")
def _no_logarithm(z, t):
    return _log_mean_of_pairs(_kernel(z, t)).exp()


@exercise.mistake(
    "mean of the logarithm",
    "the logarithm is taken before the mean, so this is −t times the mean squared distance: take "
    "the mean first.",
)
def _mean_of_the_logarithm(z, t):
    n = len(z)
    return _kernel(z, t).log().sum() / (n * (n - 1))


@exercise.mistake("sum", "this is the logarithm of the sum over pairs: take their mean.")
def _sum(z, t):
    kernel = _kernel(z, t)
    return (kernel.sum() - kernel.diagonal().sum()).log()


@exercise.mistake("sharpness forgotten", "t is not used: it multiplies the squared distance.")
def _sharpness_forgotten(z, t):
    return _log_mean_of_pairs(_kernel(z, 1.0))


@exercise.mistake("sign", "mind the sign in the exponent: far pairs have to count for little.")
def _sign(z, t):
    return _log_mean_of_pairs(_kernel(z, -t))
