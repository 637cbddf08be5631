"""Exercise 02.6, an open one: a measure that sees more than lines."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.open_ended import NOT_FINITE, UNREADABLE, explaining, is_floats

SAMPLES, ENOUGH = 200, 0.9  # how many of the pairs have to be ordered rightly


def dependence(x: Tensor, y: Tensor) -> Tensor:
    """Return the distance correlation [K] of K pairs of dimensions x, y [K, N].

    (Székely, Rizzo & Bakirov 2007.) The correlation of the distances within x with those within y:
    0 in the limit only if both are independent.
    """
    a, b = (_centered_distances(one) for one in (x, y))
    covariance, own_a, own_b = ((p * q).mean((1, 2)) for p, q in ((a, b), (a, a), (b, b)))
    return covariance / (own_a * own_b).sqrt()


def _centered_distances(x: Tensor) -> Tensor:
    distance = (x[:, :, None] - x[:, None, :]).abs()
    return (
        distance
        - distance.mean(1, keepdim=True)
        - distance.mean(2, keepdim=True)
        + distance.mean((1, 2), keepdim=True)
    )


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y [K, N], and which of the K = 2 · size pairs depend on each other.

    No pair is correlated. The others have the same dimensions, dealt out anew.
    """
    kinds = torch.arange(size) % 3
    x = torch.randn(size, SAMPLES, generator=generator)
    noise = torch.randn(size, SAMPLES, generator=generator)
    angle = 2 * torch.pi * torch.rand(size, SAMPLES, generator=generator)
    parabola = x.square() + 0.5 * noise
    ring = torch.cos(angle) + 0.1 * x, torch.sin(angle) + 0.1 * noise
    fan = x * noise  # the farther out, the wider
    first = torch.where((kinds == 1)[:, None], ring[0], x)
    choices = torch.stack([parabola, ring[1], fan])
    second = choices[kinds, torch.arange(size)]
    order = torch.rand(size, SAMPLES, generator=generator).argsort(1)
    both = torch.cat([first, first]), torch.cat([second, second.gather(1, order)])
    return *both, torch.cat([torch.ones(size), torch.zeros(size)]).bool()


def observe(function: Callable[..., Any], x: Tensor, y: Tensor, depend: Tensor) -> Tensor:
    """Return how often a dependent pair has the greater score than another, or `ENOUGH` if more."""
    scores = function(x, y)
    if not is_floats(scores) or scores.shape != depend.shape:
        return torch.tensor(UNREADABLE)
    scores = scores.detach().to(x)
    if not bool(scores.isfinite().all()):
        return torch.tensor(NOT_FINITE)
    difference = scores[depend][:, None] - scores[~depend][None]
    right = (difference > 0).float().mean() + (difference == 0).float().mean() / 2
    return right.cpu().clamp(max=ENOUGH)


exercise = Exercise(
    id="02.6",
    title="what correlation cannot see",
    points=3,
    minutes=30,
    difficulty=4,
    function="my_dependence",
    reference=dependence,
    home="mmlite.exercises.lesson02.dependence",
    draw=draw,
    sizes=(45,),
    hidden_sizes=(45, 60),
    tolerance=1e-6,
    why_tolerance="what is compared is a share of comparisons, cut off at what is asked for",
    observe=observe,
    explain=explaining(
        ENOUGH,
        "a dependent pair has the greater score in {reached:.2f} of the comparisons, and {enough} "
        "is asked for (tossing a coin: 0.5). What of y changes with x, if not its mean?",
        "it must return one float for each of the K pairs, [K]",
        "there are NaN or infinities among the scores: is something divided by 0?",
    ),
)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))


@exercise.mistake(
    "correlation",
    "this is the correlation's size, and none of these pairs is correlated: it sees lines alone.",
)
def _size_of_the_correlation(x, y):
    return _correlation(x, y).abs()


@exercise.mistake(
    "correlation with its sign",
    "this is the correlation, with its sign: none of these pairs is correlated, it sees lines "
    "alone. And a dependence that falls is one too.",
)
def _signed(x, y):
    return _correlation(x, y)


@exercise.mistake(
    "ranks",
    "a correlation of ranks sees what rises or falls all along, and these do neither.",
)
def _ranks(x, y):
    return _correlation(*(one.argsort(1).argsort(1).float() for one in (x, y))).abs()


@exercise.mistake(
    "the other way round",
    "independent pairs get the greater scores here: turn the order around.",
)
def _other_way_round(x, y):
    return -dependence(x, y)
