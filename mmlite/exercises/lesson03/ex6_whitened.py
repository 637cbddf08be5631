"""Exercise 03.6: no direction louder than another."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.open_ended import is_floats
from mmlite.whitening import fit_whitening


def whitened(train_h: Tensor, test_h: Tensor, shrinkage: float) -> Tensor:
    """Return test features [M, D] whitened by the shrunk covariance of training features [N, D]."""
    return fit_whitening(train_h, shrinkage)(test_h)


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, float]:
    """Return features whose directions differ in loudness and lie on no axis, and a shrinkage."""
    mix = torch.tensor([0.3, 1.0, 2.0, 4.0])[:, None] * torch.randn(4, 4, generator=generator)
    offset = 2 * torch.randn(4, generator=generator)
    train_h, test_h = (
        torch.randn(count, 4, generator=generator) @ mix + offset for count in (size, size + 1)
    )
    shrinkage = 0.1 + 0.3 * float(torch.rand((), generator=generator))
    return train_h, test_h, round(shrinkage, 2)


def observe(function: Callable[..., Any], train_h: Tensor, test_h: Tensor, shrinkage: float) -> Any:
    """Return an answer at a size of its own, for no cosine sees a common factor.

    So a covariance that is divided by N − 1 is as right as one that is divided by N.
    """
    got = function(train_h, test_h, shrinkage)
    if not is_floats(got):
        return got
    return got * got.numel() ** 0.5 / got.norm()


exercise = Exercise(
    id="03.6",
    title="no direction louder than another",
    points=3,
    minutes=30,
    difficulty=4,
    function="my_whitened",
    reference=whitened,
    home="mmlite.exercises.lesson03.whitened",
    draw=draw,
    sizes=(8, 20, 40),
    hidden_sizes=(10, 300),
    tolerance=1e-3,
    why_tolerance="float32 keeps four digits of the inverse root of a covariance whose condition "
    "is below 100 at a shrinkage of 0.1",
    observe=observe,
)


def _covariance(h: Tensor) -> Tensor:
    centered = h - h.mean(0)
    return centered.T @ centered / len(h)


def _shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    size = covariance.diagonal().mean()
    return (1 - shrinkage) * covariance + shrinkage * size * torch.eye(len(covariance)).to(size)


def _power(covariance: Tensor, exponent: float) -> Tensor:
    variance, directions = torch.linalg.eigh(covariance)
    return (directions * variance**exponent) @ directions.T


@exercise.mistake(
    "by its own covariance",
    "the test features are whitened by their own mean and covariance: a reader knows the training "
    "features alone when a new image comes.",
)
def _by_its_own_covariance(train_h, test_h, shrinkage):
    return whitened(test_h, test_h, shrinkage)


@exercise.mistake(
    "axes alone",
    "this divides each axis by its own deviation: loud directions that lie between the axes stay "
    "loud. Use the whole covariance matrix.",
)
def _axes_alone(train_h, test_h, shrinkage):
    return (test_h - train_h.mean(0)) / train_h.std(0, correction=0)


@exercise.mistake(
    "axes alone, shrunk",
    "only the diagonal of the covariance is used: what two dimensions share stays. Use all of it.",
)
def _axes_alone_shrunk(train_h, test_h, shrinkage):
    shrunk = _shrunk(_covariance(train_h), shrinkage).diagonal()
    return (test_h - train_h.mean(0)) / shrunk.sqrt()


@exercise.mistake(
    "inverse",
    "this is multiplied by the inverse of the covariance: variances become their inverse. It takes "
    "the inverse of its square root.",
)
def _inverse(train_h, test_h, shrinkage):
    return (test_h - train_h.mean(0)) @ _power(_shrunk(_covariance(train_h), shrinkage), -1.0)


@exercise.mistake(
    "root without inverse",
    "this is multiplied by the square root itself, which makes loud directions louder: divide by "
    "it, that is, raise the eigenvalues to −1/2.",
)
def _root_without_inverse(train_h, test_h, shrinkage):
    return (test_h - train_h.mean(0)) @ _power(_shrunk(_covariance(train_h), shrinkage), 0.5)


@exercise.mistake(
    "not turned back",
    "the features are stretched, but left in the coordinates of the eigenvectors: multiply by "
    "their transpose once more, so that dimension i is still mostly dimension i.",
)
def _not_turned_back(train_h, test_h, shrinkage):
    variance, directions = torch.linalg.eigh(_shrunk(_covariance(train_h), shrinkage))
    return (test_h - train_h.mean(0)) @ (directions * variance.rsqrt())


@exercise.mistake(
    "not centered",
    "the training mean was not subtracted from the test features.",
)
def _not_centered(train_h, test_h, shrinkage):
    return test_h @ fit_whitening(train_h, shrinkage).matrix


@exercise.mistake(
    "second moment",
    "the matrix is of squares about 0, not about the mean: center the training features before "
    "you take their covariance.",
)
def _second_moment(train_h, test_h, shrinkage):
    shrunk = _shrunk(train_h.T @ train_h / len(train_h), shrinkage)
    return (test_h - train_h.mean(0)) @ _power(shrunk, -0.5)


@exercise.mistake(
    "no shrinkage",
    "the covariance was not shrunk: mix it with a multiple of the identity first.",
)
def _no_shrinkage(train_h, test_h, shrinkage):
    return whitened(train_h, test_h, 0.0)


@exercise.mistake(
    "shrunk to the identity",
    "the covariance is mixed with the identity as it is: scale the identity by the mean variance "
    "of the dimensions, or the result depends on the unit that h has.",
)
def _shrunk_to_the_identity(train_h, test_h, shrinkage):
    shrunk = (1 - shrinkage) * _covariance(train_h)
    shrunk = shrunk + shrinkage * torch.eye(len(shrunk)).to(shrunk)
    return (test_h - train_h.mean(0)) @ _power(shrunk, -0.5)


@exercise.mistake(
    "shares exchanged",
    "the shares of the mixture are exchanged: the covariance has weight 1 − shrinkage.",
)
def _shares_exchanged(train_h, test_h, shrinkage):
    return whitened(train_h, test_h, 1 - shrinkage)
