"""Exercise 03.7, an open one: a linear map of one's own against what a known pair differs in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.open_ended import UNREADABLE, accuracy_up_to, explaining, is_floats
from mmlite.whitening import fit_whitening

CLASSES, SIGNAL, LOUD, QUIET = 4, 4, 6, 2
ENOUGH = 0.9  # what features must read as; unchanged they read at 0.5 to 0.7


def pair_map(h1: Tensor, h2: Tensor) -> Tensor:
    """Return a matrix [D, D] that divides out what two pictures of the same thing differ in.

    Whitening by the covariance of the differences of the pairs [N, D], which the class has no part
    in.
    """
    return fit_whitening(h1 - h2).matrix


def draw(generator: Generator, size: int) -> tuple[Tensor, ...]:
    """Return features of pairs that share their class and differ in loud directions on no axis.

    (h1 [N, D], h2 [N, D], labels [N], test_h [N, D], test_labels [N])
    """
    dim = SIGNAL + LOUD + QUIET
    labels = torch.randint(0, CLASSES, (2 * size,), generator=generator)
    centers = 2 * torch.linalg.qr(torch.randn(CLASSES, SIGNAL, generator=generator)).Q
    things = centers[labels] + 0.5 * torch.randn(2 * size, SIGNAL, generator=generator)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q
    mix = turn * (0.5 + torch.rand(dim, generator=generator))

    def pictures(of: Tensor) -> Tensor:
        nuisance = torch.linspace(1.5, 6, LOUD) * torch.randn(len(of), LOUD, generator=generator)
        noise = 0.15 * torch.randn(len(of), QUIET, generator=generator)
        return torch.cat([of, nuisance, noise], 1) @ mix + 1

    seen, fresh = things[:size], things[size:]
    return pictures(seen), pictures(seen), labels[:size], pictures(fresh), labels[size:]


def observe(
    function: Callable[..., Any],
    h1: Tensor,
    h2: Tensor,
    labels: Tensor,
    test_h: Tensor,
    test_labels: Tensor,
) -> Tensor:
    """Return the kNN accuracy through an answer's map, or `ENOUGH` if it is more than that."""
    matrix = function(h1, h2)
    width = h1.shape[1]
    if not is_floats(matrix) or matrix.dim() != 2 or len(matrix) != width or not matrix.shape[1]:
        return torch.tensor(UNREADABLE)
    matrix, mean = matrix.detach().to(h1), h1.mean(0)
    seen, fresh = (h1 - mean) @ matrix, (test_h - mean) @ matrix
    return accuracy_up_to(ENOUGH, seen, labels, fresh, test_labels)


exercise = Exercise(
    id="03.7",
    title="a map of your own",
    points=3,
    minutes=30,
    difficulty=4,
    function="my_map",
    reference=pair_map,
    home="mmlite.exercises.lesson03.pair_map",
    draw=draw,
    sizes=(400,),
    hidden_sizes=(400, 500),
    tolerance=1e-6,
    why_tolerance="what is compared is an accuracy, cut off at what is asked for; a right answer "
    "reaches 0.94 or more",
    observe=observe,
    explain=explaining(
        ENOUGH,
        "through this map kNN reads {reached:.2f} of the hidden images right, and {enough} is "
        "asked for. What do h1 and h2 differ in, and in which directions is it loud?",
        "it must return one float matrix [D, E], D the width of h1 and h2",
        "features times this matrix are NaN or infinite: is something divided by 0?",
    ),
)


@exercise.mistake(
    "unchanged",
    "this changes nothing that a cosine can see: the features read as they did before.",
)
def _unchanged(h1, h2):
    return torch.eye(h1.shape[1]).to(h1)


@exercise.mistake(
    "axes alone",
    "this scales each axis by its deviation, and what is loud lies between the axes: look for "
    "directions.",
)
def _axes_alone(h1, h2):
    return torch.diag(1 / h1.std(0))


@exercise.mistake(
    "axes of the differences",
    "this scales each axis by how much the two differ along it; the directions in which they "
    "differ lie between the axes.",
)
def _axes_of_the_differences(h1, h2):
    return torch.diag(1 / (h1 - h2).std(0))


@exercise.mistake(
    "the nuisance kept",
    "this keeps the directions in which h1 and h2 differ most; those are the ones to be without.",
)
def _the_nuisance_kept(h1, h2):
    _, directions = torch.linalg.eigh(torch.cov((h1 - h2).T))
    return directions[:, -LOUD:]


@exercise.mistake(
    "made louder",
    "this multiplies by the root of the covariance of the differences, which makes the nuisance "
    "louder: divide by it.",
)
def _made_louder(h1, h2):
    return torch.linalg.inv(fit_whitening(h1 - h2).matrix)
