"""What the results of a study say by its protocol: the verdict, and the differences beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from mmlite.experiments.study.cells import MAIN, TUNING, Cell, Results
from mmlite.experiments.study.protocol import Difference, Reading
from mmlite.statistics import (
    Interval,
    equivalence_test,
    holm,
    paired_difference,
    power,
    sign_flip_test,
)

HELPS, EQUIVALENT, UNDECIDED = VERDICTS = ("helps", "equivalent", "undecided")


class IncompleteError(RuntimeError):
    """Runs that a verdict needs are missing or have failed."""


@dataclass(frozen=True)
class Outcome:
    """What the seeds say of one difference, in accuracy.

    Attributes:
        difference: of the protocol.
        interval: the mean and its 95 % Student-t interval.
        deviation: of the differences from seed to seed.
        p: of the paired t-test: one-sided for a primary difference, two-sided for another.
        p_flip: of the sign-flip test that it is above 0, of a primary difference.
        p_equivalent: against a difference of the margin or more, of a primary difference.
        p_adjusted: p after Holm's correction, of a secondary difference.
    """

    difference: Difference
    interval: Interval
    deviation: float
    p: float
    p_flip: float | None = None
    p_equivalent: float | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer of a study to its question.

    Attributes:
        word: "helps" if each primary difference is above 0; else "equivalent" if each lies within
            the margin; else "undecided".
        outcomes: of the primary differences.
    """

    word: str
    outcomes: tuple[Outcome, ...]


def judge(results: Results) -> Verdict:
    """Return the verdict of a study.

    Raises:
        IncompleteError: a run that it needs is missing or has failed.
    """
    protocol = results.protocol
    outcomes, equivalent = [], []
    for difference in protocol.primary:
        a, b = paired(results, difference)
        equivalent.append(equivalence_test(a, b, protocol.margin))
        seen = _seen(difference, a, b, "greater")
        outcomes.append(Outcome(**seen, p_flip=sign_flip_test(a, b), p_equivalent=equivalent[-1]))
    word = UNDECIDED
    if all(one.p <= protocol.level for one in outcomes):
        word = HELPS
    elif all(p <= protocol.level for p in equivalent):
        word = EQUIVALENT
    return Verdict(word, tuple(outcomes))


def secondary(results: Results) -> list[Outcome]:
    """Return what the seeds say of all secondary differences, after Holm's correction.

    Raises:
        IncompleteError: a run that they need is missing or has failed: which of them hold depends
            on how many there are.
    """
    seen = [
        _seen(difference, *paired(results, difference), "two-sided")
        for difference in results.protocol.secondary
    ]
    adjusted = holm([one["p"] for one in seen]) if seen else []
    return [Outcome(**one, p_adjusted=p) for one, p in zip(seen, adjusted, strict=True)]


def paired(results: Results, difference: Difference) -> tuple[list[float], list[float]]:
    """Return both readings of a difference, one number a seed of the main run, in its order.

    Raises:
        IncompleteError: a run is missing or has failed.
    """
    a, b = (
        readings_of(results, difference.world, reading) for reading in (difference.a, difference.b)
    )
    return a, b


def readings_of(results: Results, world: str, reading: Reading) -> list[float]:
    """Return one reading of an arm in the main run, one number a seed, in the protocol's order.

    Raises:
        IncompleteError: a run is missing or has failed.
    """
    arm, protocol = reading.arm, results.protocol
    configuration = results.chosen(arm) if protocol.arms[arm].trains else None
    cells = [Cell(MAIN, world, arm, seed, configuration) for seed in protocol.seeds]
    if missing := [cell.seed for cell in cells if cell not in results.lines]:
        raise IncompleteError(
            f"{len(missing)} of the {len(cells)} runs of {arm} in world {world} are missing"
        )
    lines = [results.lines[cell] for cell in cells]
    for cell, line in zip(cells, lines, strict=True):
        if "failed" in line:
            raise IncompleteError(
                f"{arm} has failed in world {world} with seed {cell.seed}: {line['failed']}"
            )
    return [line["readings"][reading.reader][reading.reading] for line in lines]


def planned_power(results: Results, difference: Difference) -> float:
    """Return how likely the main run finds a difference of the margin, by the tuning seeds.

    From the deviation of the difference over the seeds of tuning, each arm at the configuration
    that was chosen; with few of them it is itself uncertain.

    Raises:
        IncompleteError: tuning is not done, has one seed alone, or has not read what the difference
            is of.
    """
    protocol, tuning = results.protocol, results.protocol.tuning
    seeds, columns = (*tuning.first_seeds, *tuning.more_seeds), []
    for reading in (difference.a, difference.b):
        chosen = results.chosen(reading.arm)
        cells = [Cell(TUNING, tuning.world, reading.arm, seed, chosen) for seed in seeds]
        lines = [results.lines.get(cell, {}) for cell in cells]
        values = [line.get("readings", {}).get(reading.reader, {}) for line in lines]
        if not all(reading.reading in value for value in values):
            raise IncompleteError(f"tuning has no {reading} for each of its seeds")
        columns.append([value[reading.reading] for value in values])
    if len(seeds) < 2:
        raise IncompleteError("the spread over one seed of tuning is not known")
    spread = stdev(a - b for a, b in zip(*columns, strict=True))
    if spread == 0:
        return 1.0
    return power(protocol.margin, spread, len(protocol.seeds), protocol.level)


def _seen(difference: Difference, a: list[float], b: list[float], alternative: str) -> dict:
    """Return what stands in the outcome of any difference."""
    return {
        "difference": difference,
        "interval": paired_difference(a, b),
        "deviation": stdev(x - y for x, y in zip(a, b, strict=True)),
        "p": t_test(a, b, alternative),
    }


def t_test(a: Sequence[float], b: Sequence[float], alternative: str) -> float:
    """Return the p-value of a paired t-test; differences that are all alike leave no doubt."""
    from scipy import stats  # here, because it takes seconds

    differences = [x - y for x, y in zip(a, b, strict=True)]
    if max(differences) > min(differences):
        return float(stats.ttest_rel(a, b, alternative=alternative).pvalue)
    above = differences[0] if alternative == "greater" else abs(differences[0])
    return 0.0 if above > 0 else 1.0
