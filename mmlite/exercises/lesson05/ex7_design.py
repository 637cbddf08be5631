"""Exercise 05.7, an open one: the next experiment, and its power."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.open_ended import is_floats

QUANTILE = 1.96  # one-sided at 2.5 %, in the limit of many seeds
NEAR_BEST, NEAR_TRUE = 0.08, 0.1  # by how much power may be less than the best, and off the truth
NO_DESIGN = 9.0  # what is observed of an answer that is none


def design(pilot: Tensor, seconds: Tensor, budget: float, effect: float) -> Tensor:
    """Return the design with most power: (1 if paired else 0, seeds of a, of b, its power), [4].

    Args:
        pilot: accuracies of a and b with the same seeds, [2, n].
        seconds: what a run of each takes, [2].
        budget: the seconds that there are.
        effect: the difference that is to be found.
    """
    variance = pilot.var(1).tolist()
    cost = seconds.tolist()
    both = max(2, int(budget / sum(cost)))
    paired = power_of(float((pilot[0] - pilot[1]).var()) / both, effect)
    # apart, more of what varies more and costs less: n_a / n_b = √(v_a / c_a) / √(v_b / c_b)
    share = [math.sqrt(v / c) for v, c in zip(variance, cost, strict=True)]
    unit = budget / sum(s * c for s, c in zip(share, cost, strict=True))
    seeds = [max(2, int(unit * s)) for s in share]
    apart = power_of(sum(v / n for v, n in zip(variance, seeds, strict=True)), effect)
    if paired >= apart:
        return torch.tensor([1.0, both, both, paired])
    return torch.tensor([0.0, *seeds, apart])


def power_of(variance: float, effect: float) -> float:
    """Return how likely a mean difference with this variance is found, one-sided at 2.5 %."""
    return 0.5 * math.erfc((QUANTILE - effect / math.sqrt(variance)) / math.sqrt(2))


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, float, float, Tensor]:
    """Return a pilot, costs, a budget, an effect, and what only the judge knows.

    That is the variance of a, of b and of their difference. For an even size a seed's luck is
    shared, so that pairing pays; else it hardly is, and b is so cheap that apart is better.
    """
    shared = size % 2 == 0
    common, own = (1.0, 0.4) if shared else (0.1, 1.0)
    luck = common * torch.randn(size, generator=generator)
    pilot = 70 + luck + own * torch.randn(2, size, generator=generator)
    seconds = torch.tensor([40.0, 30.0]) if shared else torch.tensor([90.0, 3.0])
    alone = common**2 + own**2
    truth = torch.tensor([alone, alone, 2 * own**2])
    seeds = 12 + int(10 * torch.rand((), generator=generator))
    budget = seeds * float(seconds.sum())
    variance = 2 * own**2 if shared else alone
    effect = 2.6 * math.sqrt(variance / seeds)
    return pilot, seconds, budget, round(effect, 3), truth


def observe(
    function: Callable[..., Any],
    pilot: Tensor,
    seconds: Tensor,
    budget: float,
    effect: float,
    truth: Tensor,
) -> Tensor:
    """Return how far an answer's power falls short, and is misjudged, beyond what may be: [2]."""
    got = function(pilot, seconds, budget, effect)
    if not _affordable(got, seconds, budget):
        return torch.full((2,), NO_DESIGN)
    paired, a, b, claimed = got.detach().tolist()
    real = power_of(_variance(truth, bool(paired), a, b), effect)
    best = max(
        power_of(_variance(truth, bool(one[0]), one[1], one[2]), effect)
        for one in _designs(truth, seconds, budget)
    )
    short = max(0.0, best - real - NEAR_BEST)
    off = max(0.0, abs(claimed - real) - NEAR_TRUE)
    return torch.tensor([short, off])


def _affordable(got: Any, seconds: Tensor, budget: float) -> bool:
    """Whether an answer is a design: whole numbers of at least 2 seeds, within the budget."""
    if not is_floats(got) or got.shape != (4,) or not bool(got.isfinite().all()):
        return False
    paired, a, b, claimed = got.detach().tolist()
    cost = seconds.tolist()
    return (
        paired in (0.0, 1.0)
        and a == int(a) >= 2
        and b == int(b) >= 2
        and (a == b or not paired)
        and a * cost[0] + b * cost[1] <= budget * (1 + 1e-6)
        and 0 <= claimed <= 1
    )


def _variance(truth: Tensor, paired: bool, a: float, b: float) -> float:
    """Return the true variance of the mean difference of a design."""
    of_a, of_b, of_difference = truth.tolist()
    return of_difference / a if paired else of_a / a + of_b / b


def _designs(truth: Tensor, seconds: Tensor, budget: float):
    """Yield the designs that spend the budget: paired, and apart with any number of a."""
    cost = seconds.tolist()
    both = int(budget / sum(cost))
    yield 1.0, both, both
    for a in range(2, int(budget / cost[0])):
        b = int((budget - a * cost[0]) / cost[1])
        if b >= 2:
            yield 0.0, a, b


def explain(observed: Tensor) -> str:
    """Say what is missing of an answer's design."""
    short, off = observed.tolist()
    if short == off == NO_DESIGN:
        return (
            "it must return a float tensor [4]: 1 for a paired design or 0, whole numbers of at "
            "least 2 seeds of a and of b (the same if paired) whose runs fit the budget, and the "
            "power, from 0 to 1"
        )
    if short > 0:
        return (
            f"the best design that the budget allows has {short + NEAR_BEST:.2f} more power than "
            "this one. What does pairing gain here, what does it cost, and which runs are cheap?"
        )
    return (
        f"the power is off by {off + NEAR_TRUE:.2f}: it comes from the variance of the mean "
        "difference, which the pilot tells, and from the effect"
    )


exercise = Exercise(
    id="05.7",
    title="the next experiment",
    points=4,
    minutes=40,
    difficulty=4,
    function="my_design",
    reference=design,
    home="mmlite.exercises.lesson05.design",
    draw=draw,
    sizes=(200, 201),
    hidden_sizes=(250, 251, 400, 401),
    tolerance=1e-6,
    why_tolerance="what is compared is 0 for every design that is good enough",
    observe=observe,
    explain=explain,
)


@exercise.mistake(
    "always paired",
    "this pairs whatever the pilot says. Pairing gains what a seed's luck shares, and it costs as "
    "many runs of the dear method as of the cheap one: compare.",
)
def _always_paired(pilot, seconds, budget, effect):
    both = int(budget / float(seconds.sum()))
    variance = float((pilot[0] - pilot[1]).var()) / both
    return torch.tensor([1.0, both, both, power_of(variance, effect)])


@exercise.mistake(
    "never paired",
    "this never pairs. Where seeds are lucky or unlucky for both methods, their difference varies "
    "much less than either: compare.",
)
def _never_paired(pilot, seconds, budget, effect):
    half = [max(2, int(budget / 2 / one)) for one in seconds.tolist()]
    variance = sum(v / n for v, n in zip(pilot.var(1).tolist(), half, strict=True))
    return torch.tensor([0.0, *half, power_of(variance, effect)])


@exercise.mistake(
    "deviation of a seed",
    "the design is good, but its power is that of a single seed: the variance of a mean of n is n "
    "times less.",
)
def _deviation_of_a_seed(pilot, seconds, budget, effect):
    found = design(pilot, seconds, budget, effect)
    variance = (pilot[0] - pilot[1]).var() if found[0] else pilot.var(1).sum()
    found[3] = power_of(float(variance), effect)
    return found
