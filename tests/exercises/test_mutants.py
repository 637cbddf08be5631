"""Answers that are wrong in a small way fail, in every exercise and for every seed.

A mutant is a reference with one small fault. Whether it is wrong at all is asked of inputs that the
exercise does not draw: other sizes, scales and offsets. One that differs there has to fail.
"""

from dataclasses import replace

import pytest
import torch
from mutants import mutants
from right_answers import RIGHT

from mmlite.exercises import all_exercises, judge
from mmlite.grading.host.marking import ROUNDS

# 01.3, whose results are random, and those where whatever achieves enough is right
OPEN = ("01.8", "02.6", "03.7", "04.4", "05.7", "06.6", "07.8")
EXERCISES = [e for e in all_exercises().values() if e.id not in ("01.3", *OPEN)]
SEEDS = range(3)
# inputs that have a form of their own, which another scale would break
AS_DRAWN = {
    "02.2": "a correlation matrix has ones on its diagonal",
    "03.3": "a share above 1 is refused, and asked of nobody",
    "04.6": "its loss adds 1e-5 to a variance, next to nothing at the scale that is drawn",
}


def broadened(case: tuple, generator: torch.Generator) -> tuple:
    """Return a case's arguments in float64 at another scale, with other numbers beside them."""

    def one(value):
        factor = float(4 ** (2 * torch.rand((), generator=generator) - 1))
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value * factor
        if isinstance(value, float):
            return value * min(max(factor, 0.5), 2)
        if isinstance(value, tuple):
            return tuple(one(part) for part in value)
        return value

    return tuple(one(value) for value in case)


def inputs(exercise) -> list[tuple]:
    """Return cases of other seeds than the judge's, and such as it does not draw."""
    generator = torch.Generator().manual_seed(123)
    sizes = (*exercise.sizes, *exercise.hidden_sizes)
    drawn = [exercise.draw(generator, size) for size in sizes for _ in range(2)]
    if exercise.id in AS_DRAWN:
        return drawn
    return [case for one in drawn for case in (one, broadened(one, generator))]


def value(exercise, function, case: tuple):
    """Return what a function makes of a case; that it raises is a value too."""
    given = tuple(one.clone() if isinstance(one, torch.Tensor) else one for one in case)
    try:
        return exercise.observe(function, *given)
    except Exception:
        return "an error"


def differ(one, other) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) is not isinstance(other, str)
    try:
        one, other = (torch.as_tensor(value).double() for value in (one, other))
    except (TypeError, ValueError, RuntimeError):
        return True
    if one.shape != other.shape:
        return True
    # what differs by less than any tolerance of an exercise is no mistake
    return not torch.allclose(one, other, rtol=2e-3, atol=2e-3, equal_nan=True)


def passes(exercise, mutant, seed: int) -> bool:
    """Whether an answer would be marked right."""
    plain = replace(exercise, mistakes=())  # which are only there to say what is wrong
    rounds = (judge(plain, mutant, hidden=True, seed=seed + turn) for turn in range(ROUNDS))
    return all(verdict.status == "passed" for verdict in rounds)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_a_small_fault_is_found(exercise):
    cases, wrong, survivors = inputs(exercise), 0, []
    for answer in (exercise.reference, *RIGHT[exercise.id]):
        if getattr(answer, "__name__", "<lambda>") == "<lambda>":
            continue  # without a source of its own
        wanted = [value(exercise, answer, case) for case in cases]
        for said, mutant in mutants(answer):
            pairs = zip(wanted, cases, strict=True)
            if any(differ(known, value(exercise, mutant, case)) for known, case in pairs):
                wrong += 1
                if any(passes(exercise, mutant, seed) for seed in SEEDS):
                    survivors.append(said)
    assert survivors == []
    assert wrong >= 2
