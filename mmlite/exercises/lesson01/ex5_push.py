"""Exercise 01.5: which negative is pushed hardest."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def push(similarity: Tensor, temperature: float) -> Tensor:
    """Return each negative's share [M] of the push, from its similarity [M] to the query."""
    return torch.softmax(similarity / temperature, 0)


def draw(generator: Generator, size: int) -> tuple[Tensor, float]:
    temperature = 0.1 + 0.4 * float(torch.rand((), generator=generator))
    return 2 * torch.rand(size, generator=generator) - 1, round(temperature, 2)


exercise = Exercise(
    id="01.5",
    title="which negative is pushed hardest",
    points=2,
    minutes=10,
    difficulty=2,
    function="my_push",
    reference=push,
    home="mmlite.exercises.lesson01.push",
    draw=draw,
    sizes=(2, 5, 20),
    hidden_sizes=(3, 200),
    tolerance=1e-5,
    why_tolerance="a float32 softmax over at most 200 entries rounds by about 1e-6",
)


@exercise.mistake(
    "temperature forgotten",
    "the temperature is not used: it decides how far the push concentrates on the "
    "hardest negatives.",
)
def _temperature_forgotten(s, t):
    return torch.softmax(s, 0)


@exercise.mistake(
    "times temperature", "the similarities were multiplied by the temperature: divide by it."
)
def _times_temperature(s, t):
    return torch.softmax(s * t, 0)


@exercise.mistake(
    "not normalized", "these are the weights before they are made to sum to 1: divide by their sum."
)
def _not_normalized(s, t):
    return torch.exp(s / t)


@exercise.mistake(
    "sign", "the least similar negative gets the greatest share here: it is the other way around."
)
def _sign(s, t):
    return torch.softmax(-s / t, 0)
