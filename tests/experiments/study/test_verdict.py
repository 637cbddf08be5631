"""The verdict of a study, by hand and against SciPy."""

import pytest
import studies
from scipy import stats

from mmlite.experiments.study.cells import MAIN, TUNING, Results
from mmlite.experiments.study.protocol import Reading
from mmlite.experiments.study.verdict import (
    IncompleteError,
    judge,
    paired,
    planned_power,
    readings_of,
    secondary,
    t_test,
)

NOISE = {10: 0.001, 11: -0.002, 12: 0.0015, 13: -0.0005}  # of the main seeds; mean 0


def gaining(over_joint: float, over_shuffled: float, noise: float = 1.0):
    """Return scores in which the masked reading is above the two others by so much."""

    def score(cell, reader, reading):
        if cell.stage == TUNING:
            return 0.5
        value = 0.7 + cell.seed / 1000
        if cell.arm == "joint":
            return value - over_joint
        if reading == "shuffled":
            return value - over_shuffled
        return value + noise * NOISE[cell.seed] * (reading == "masked")

    return score


@pytest.mark.parametrize(
    ("gains", "noise", "word"),
    [
        ((0.02, 0.015), 1, "helps"),
        ((0.02, 0.0), 1, "undecided"),  # one of two is not enough, and 0.02 is beyond the margin
        ((0.003, 0.0), 1, "equivalent"),  # within 0.01
        ((0.0, 0.0), 20, "undecided"),  # too noisy for either
        ((-0.02, 0.0), 1, "undecided"),
        ((-0.002, -0.002), 1, "equivalent"),
        ((0.006, 0.006), 1, "helps"),  # superior and within the margin: superior goes first
    ],
)
def test_the_three_verdicts(tmp_path, gains, noise, word):
    results = studies.complete(studies.protocol(tmp_path), gaining(*gains, noise))
    verdict = judge(results)
    assert verdict.word == word
    assert [one.interval.mean for one in verdict.outcomes] == pytest.approx(gains)


def test_each_number_of_an_outcome_is_scipy_s(tmp_path):
    results = studies.complete(studies.protocol(tmp_path), gaining(0.003, 0.001))
    first = judge(results).outcomes[0]
    differences = [0.003 + noise for noise in NOISE.values()]
    found = stats.ttest_1samp(differences, 0, alternative="greater")
    assert first.p == pytest.approx(found.pvalue)
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert tuple(first.interval)[1:] == pytest.approx(interval)
    assert first.deviation == pytest.approx(stats.tstd(differences))
    below = stats.ttest_1samp(differences, 0.01, alternative="less").pvalue
    above = stats.ttest_1samp(differences, -0.01, alternative="greater").pvalue
    assert first.p_equivalent == pytest.approx(max(below, above))
    assert first.p_flip == 1 / 16  # all four are above 0: the least of 2⁴ choices of signs


def test_secondary_differences_are_two_sided_and_corrected_for_their_number(tmp_path):
    results = studies.complete(studies.protocol(tmp_path), gaining(0.004, 0.003))
    found = secondary(results)
    p = [stats.ttest_rel(*paired(results, one.difference)).pvalue for one in found]
    assert [one.p for one in found] == pytest.approx(p)
    order = sorted(range(3), key=p.__getitem__)
    expected = [0.0] * 3
    for rank, place in enumerate(order):
        before = expected[order[rank - 1]] if rank else 0
        expected[place] = max(before, min(1, (3 - rank) * p[place]))
    assert [one.p_adjusted for one in found] == pytest.approx(expected)


def test_pairs_are_of_the_same_seed_in_the_protocol_s_order(tmp_path):
    protocol = studies.protocol(tmp_path)
    whole = studies.complete(protocol, studies.flat)
    backwards = Results(protocol, reversed(list(whole.lines.values())))
    a, b = paired(backwards, protocol.primary[0])
    assert a == b == pytest.approx([0.7, 0.71, 0.72, 0.73])


def test_there_is_no_verdict_before_the_last_run(tmp_path):
    protocol = studies.protocol(tmp_path)
    whole = studies.complete(protocol, studies.flat)
    for name, seed in (("mask", 13), ("joint", 10)):
        lines = [
            line
            for cell, line in whole.lines.items()
            if (cell.stage, cell.arm, cell.seed) != (MAIN, name, seed)
        ]
        with pytest.raises(IncompleteError, match=f"1 of the 4 runs of {name} in world clean"):
            judge(Results(protocol, lines))
    with pytest.raises(IncompleteError, match="runs of mask in world clean are missing"):
        judge(Results(protocol))


def test_what_needs_no_other_arm_waits_for_none(tmp_path):
    protocol = studies.protocol(tmp_path)
    whole = studies.complete(protocol, studies.flat)
    some = [line for cell, line in whole.lines.items() if cell.arm != "frozen"]
    results = Results(protocol, some)
    assert judge(results).word == judge(whole).word
    with pytest.raises(IncompleteError, match="of frozen"):
        secondary(results)


def test_a_failed_run_gives_no_verdict(tmp_path):
    protocol = studies.protocol(tmp_path)
    results = studies.complete(protocol, studies.flat)
    cell = next(cell for cell in results.lines if (cell.stage, cell.arm) == (MAIN, "mask"))
    results.lines[cell] = {**results.lines[cell], "failed": "the loss is NaN"}
    with pytest.raises(IncompleteError, match="mask has failed in world clean with seed 10"):
        judge(results)


def test_an_untrained_arm_is_read_without_a_configuration(tmp_path):
    results = studies.complete(studies.protocol(tmp_path), studies.flat)
    values = readings_of(results, "clean", Reading("untrained", "probe", "whitened"))
    assert values == pytest.approx([0.7, 0.71, 0.72, 0.73])


def test_planned_power_goes_by_the_spread_over_the_tuning_seeds(tmp_path):
    protocol = studies.protocol(tmp_path)
    spread = {0: 0.0, 1: 0.006, 2: 0.003}

    def score(cell, reader, reading):
        gain = spread[cell.seed] if cell.stage == TUNING and cell.arm == "mask" else 0.0
        return 0.6 + gain * (reading == "masked")

    results = studies.complete(protocol, score)
    # deviation 0.003, effect 0.01, 4 seeds: noncentrality 6.67 with 3 degrees of freedom
    expected = stats.nct.sf(stats.t.isf(0.025, 3), 3, 2 * 0.01 / 0.003)
    for difference in protocol.primary:
        assert planned_power(results, difference) == pytest.approx(expected)
    with pytest.raises(IncompleteError, match="tuning has no"):
        planned_power(Results(protocol), protocol.primary[0])


def test_differences_without_any_spread_leave_no_doubt():
    assert t_test([1.0, 2.0], [0.5, 1.5], "greater") == 0
    assert t_test([1.0, 2.0], [1.5, 2.5], "greater") == 1
    assert t_test([1.0, 2.0], [1.5, 2.5], "two-sided") == 0
    assert t_test([1.0, 2.0], [1.0, 2.0], "two-sided") == 1
