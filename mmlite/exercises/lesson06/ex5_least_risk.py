"""Exercise 06.5: the least cross-entropy that unit features allow."""

import math

import torch
from torch import Generator

from mmlite.exercises.exercise import Exercise
from mmlite.theory import least_risk


def draw(generator: Generator, size: int) -> tuple[int, float]:
    temperature = float(0.2 + torch.rand((), generator=generator))
    return size, round(temperature, 3)


exercise = Exercise(
    id="06.5",
    title="the best that unit features can do",
    points=2,
    minutes=20,
    difficulty=3,
    function="my_least_risk",
    reference=least_risk,
    home="mmlite.least_risk",
    draw=draw,
    sizes=(2, 3, 10),
    hidden_sizes=(5, 100),
    tolerance=1e-4,
    why_tolerance="a logarithm and an exponential in float32 or better; 1e-4 leaves room for "
    "either, and for a simplex that is built and measured",
)


def _apart(classes: int, product: float, temperature: float) -> float:
    """Return the risk of unit means whose products with each other are all the same."""
    return math.log1p((classes - 1) * math.exp((product - 1) / temperature))


@exercise.mistake(
    "orthogonal",
    "these classes stand at right angles: K points on a sphere can lie farther apart, with the "
    "product −1/(K − 1) for each two of them.",
)
def _orthogonal(classes, temperature):
    return _apart(classes, 0.0, temperature)


@exercise.mistake(
    "opposite",
    "only two points can lie opposite to each other: K points that all lie as far apart as they "
    "can have the product −1/(K − 1).",
)
def _opposite(classes, temperature):
    return _apart(classes, -1.0, temperature)


@exercise.mistake(
    "without τ", "the temperature is missing: the scores are f·μ / τ for unit vectors f and μ."
)
def _without_temperature(classes, temperature):
    return least_risk(classes, 1.0)


@exercise.mistake(
    "own class twice",
    "the class itself is among the others here: beside its own there are K − 1 classes.",
)
def _own_class_twice(classes, temperature):
    others = classes - 1
    return math.log1p(classes * math.exp(-classes / (others * temperature)))


@exercise.mistake(
    "product of 1/(K − 1)",
    "the sign of the products is wrong: the points of a simplex add up to 0, so that each lies "
    "away from the others.",
)
def _wrong_sign(classes, temperature):
    return _apart(classes, 1 / (classes - 1), temperature)


@exercise.mistake(
    "probability", "this is the probability of the right class: take minus its logarithm."
)
def _probability(classes, temperature):
    return math.exp(-least_risk(classes, temperature))
