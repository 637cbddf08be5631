"""Exercise 04.6: statistics that stay."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def running_mean_after(
    running_mean: Tensor, regular: Tensor, virtual: Tensor, momentum: float
) -> Tensor:
    """Return BatchNorm's running mean [D] after a regular pass and a virtual one, both [N, D]."""
    return (1 - momentum) * running_mean + momentum * regular.mean(0)


def draw(generator: Generator, size: int):
    momentum = round(0.1 + 0.2 * float(torch.rand((), generator=generator)), 2)
    return (
        torch.randn(3, generator=generator),
        2 + torch.randn(size, 3, generator=generator),
        torch.randn(size, 3, generator=generator) - 2,
        momentum,
    )


exercise = Exercise(
    id="04.6",
    title="statistics that stay",
    points=1,
    minutes=5,
    difficulty=1,
    function="my_running_mean",
    reference=running_mean_after,
    home="mmlite.exercises.lesson04.running_mean_after",
    draw=draw,
    sizes=(2, 6),
    hidden_sizes=(3, 50),
    tolerance=1e-5,
    why_tolerance="means of a few dozen float32 numbers round by about 1e-6",
)


@exercise.mistake(
    "statistics leak",
    "the virtual pass moved the running mean too: a step that is not taken must leave no trace.",
)
def _statistics_leak(mean, regular, virtual, momentum):
    return running_mean_after(
        running_mean_after(mean, regular, virtual, momentum), virtual, virtual, momentum
    )


@exercise.mistake(
    "the virtual pass only",
    "the virtual pass moved the running mean and the regular one did not: it is the "
    "other way round.",
)
def _the_virtual_pass_only(mean, regular, virtual, momentum):
    return running_mean_after(mean, virtual, virtual, momentum)


@exercise.mistake(
    "momentum the other way",
    "old and new are exchanged: PyTorch's momentum is the weight of the new batch.",
)
def _momentum_the_other_way(mean, regular, virtual, momentum):
    return running_mean_after(mean, regular, virtual, 1 - momentum)


@exercise.mistake("nothing moves", "nothing moved the running mean: the regular pass does.")
def _nothing_moves(mean, regular, virtual, momentum):
    return mean.clone()
