"""Exercise 07.5: the way back of a sum."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def sums_gradient(gradients: Tensor) -> Tensor:
    """Return ∂(Σ_r L_r)/∂x_s [R, P] of y = Σ_s x_s, given each ∂L_r/∂y, gradients [R, P]."""
    return gradients.sum(0).expand_as(gradients).clone()


def draw(generator: Generator, size: int) -> tuple[Tensor]:
    return (torch.randn(size, 3, generator=generator),)


exercise = Exercise(
    id="07.5",
    title="the way back of a sum",
    points=2,
    minutes=10,
    difficulty=2,
    function="my_sums_gradient",
    reference=sums_gradient,
    home="mmlite.exercises.lesson07.sums_gradient",
    draw=draw,
    sizes=(2, 3),
    hidden_sizes=(8,),
    tolerance=1e-5,
    why_tolerance="sums of a few float32 numbers round by about 1e-6",
)


@exercise.mistake(
    "each keeps its own",
    "this hands each process its own gradient: x_s is in every process's sum, so "
    "every process's loss depends on it.",
)
def _each_keeps_its_own(gradients):
    return gradients.clone()


@exercise.mistake("a mean", "this is the mean: the derivative of a sum is a sum.")
def _a_mean(gradients):
    return gradients.mean(0).expand_as(gradients).clone()


@exercise.mistake(
    "own times R", "this multiplies each process's own gradient by R, right only if all are equal."
)
def _own_times_r(gradients):
    return gradients * len(gradients)


@exercise.mistake("the others'", "a process's own loss depends on its x as well.")
def _the_others(gradients):
    return gradients.sum(0) - gradients
