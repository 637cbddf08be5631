"""Exercise 07.2: the least time of a network's layers."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson07.draws import WHY_NUMBERS, draw_between


def least_seconds(flops: Tensor, moved: Tensor, peak: float, bandwidth: float) -> Tensor:
    """Return the least seconds, a scalar, of layers that run one after another.

    Args:
        flops: operations of each layer, [L].
        moved: bytes of each, [L].
        peak: operations a second.
        bandwidth: bytes a second.
    """
    return torch.maximum(flops / peak, moved / bandwidth).sum()


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, float, float]:
    """Return layers of which some are bound by operations and some by bytes."""
    slow, fast = (torch.rand(size, generator=generator) + least for least in (2, 0.5))
    by_flops = torch.arange(size) % 2 == 0
    peak, bandwidth = draw_between(generator, 2e9, 4e9), draw_between(generator, 1e8, 3e8)
    flops, moved = torch.where(by_flops, slow, fast), torch.where(by_flops, fast, slow)
    return flops * peak, moved * bandwidth, peak, bandwidth


exercise = Exercise(
    id="07.2",
    title="the least time of a network",
    points=2,
    minutes=10,
    difficulty=2,
    function="my_least_seconds",
    reference=least_seconds,
    home="mmlite.exercises.lesson07.least_seconds",
    draw=draw,
    sizes=(2, 5),
    hidden_sizes=(3, 40),
    tolerance=1e-5,
    why_tolerance=WHY_NUMBERS,
)


@exercise.mistake(
    "one after the other",
    "within a layer this is the sum: a machine computes while it moves, so the slower of the two "
    "counts.",
)
def _one_after_the_other(flops, moved, peak, bandwidth):
    return (flops / peak + moved / bandwidth).sum()


@exercise.mistake(
    "layers at once",
    "here one layer's operations go on during another's bytes: layers run one after another, so "
    "take the slower of the two of each, and then the sum.",
)
def _layers_at_once(flops, moved, peak, bandwidth):
    return torch.maximum(flops.sum() / peak, moved.sum() / bandwidth)


@exercise.mistake(
    "the faster one", "this is the smaller of the two times: the work is done when both are."
)
def _the_faster_one(flops, moved, peak, bandwidth):
    return torch.minimum(flops / peak, moved / bandwidth).sum()


@exercise.mistake("operations alone", "bytes take time as well: moved / bandwidth seconds.")
def _operations_alone(flops, moved, peak, bandwidth):
    return flops.sum() / peak


@exercise.mistake("bytes alone", "operations take time as well: flops / peak seconds.")
def _bytes_alone(flops, moved, peak, bandwidth):
    return moved.sum() / bandwidth


@exercise.mistake(
    "each layer by itself", "these are the layers' times, [L]: add them up for the network's."
)
def _each_layer(flops, moved, peak, bandwidth):
    return torch.maximum(flops / peak, moved / bandwidth)
