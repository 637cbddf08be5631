"""Intervals, tests and power over seeds, against SciPy, by simulation and by hand."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from mmlite.statistics import (
    equivalence_test,
    holm,
    paired_difference,
    power,
    sign_flip_test,
)


def test_paired_difference_is_the_paired_t_interval():
    a, b = [0.71, 0.74, 0.69, 0.80], [0.70, 0.70, 0.71, 0.75]
    expected = stats.ttest_rel(a, b).confidence_interval(0.9)
    interval = paired_difference(a, b, confidence=0.9)
    assert interval.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert str(interval).startswith("+0.020 [")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0]), "same length of at least 2"),
        (([1.0, 2.0], [1.0]), "same length"),
        (([1.0, 2.0, 3.0], [1.0, math.nan, 3.0]), r"b\[1\] must be a finite number, got nan"),
        (([1.0, math.inf], [1.0, 2.0]), r"a\[1\] must be a finite number, got inf"),
        (
            ([1.0, 2.0], [1.0, 2.0], 1.0),
            "confidence must be a number greater than 0 and less than 1",
        ),
    ],
)
def test_paired_difference_refuses_what_it_cannot_compare(arguments, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(*arguments)


def test_holm_by_hand():
    # times 4, 3, 2, 1; the last two would be less than the one before them
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.9, 0.3, 0.9]) == pytest.approx([1, 0.9, 1])
    assert holm([0.03]) == [0.03]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_bonferroni_over_every_subset(p_values):
    # a comparison stands if Bonferroni's rule rejects every subset that it is in (closed testing)
    places = range(len(p_values))
    subsets = [set(s) for size in places for s in combinations(places, size + 1)]
    expected = [
        max(min(1, len(s) * min(p_values[j] for j in s)) for s in subsets if i in s) for i in places
    ]
    assert holm(p_values) == pytest.approx(expected)


def drawn(seeds: int, effect: float = 0.0, seed: int = 0, runs: int = 1) -> np.ndarray:
    """Return differences of a law that is not normal, of deviation 1, [runs, seeds]."""
    draws = np.random.default_rng(seed).uniform(-1, 1, (runs, seeds)) * 3**0.5
    return draws + effect


def within_chance(share: float, expected: float, runs: int) -> bool:
    """Whether a share of independent runs is within four standard errors, 1 in 15,000."""
    return abs(share - expected) <= 4 * (expected * (1 - expected) / runs) ** 0.5


def test_an_interval_covers_as_often_as_it_says():
    runs, zeros = 2000, [0.0] * 8
    found = [paired_difference(row, zeros) for row in drawn(8, 0.3, runs=runs)]
    covered = sum(one.low <= 0.3 <= one.high for one in found) / runs
    assert within_chance(covered, 0.95, runs)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("seeds", [2, 5, 9])
def test_the_sign_flip_test_is_scipys_exact_one(alternative, seeds):
    a, b = drawn(seeds, 0.4, seed=seeds)[0], np.zeros(seeds)
    peer = stats.permutation_test(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis),
        permutation_type="samples",
        vectorized=True,
        alternative=alternative,
    )
    # scipy doubles the smaller tail, which is the same for a law that is symmetric about 0
    assert sign_flip_test(a.tolist(), b.tolist(), alternative) == pytest.approx(peer.pvalue)


def test_the_sign_flip_test_by_hand():
    # of the signs of 1, 2, 3 only +++ reaches a sum of 6; the next are 4 (−++), 2 and 0 twice
    assert sign_flip_test([1, 2, 3], [0, 0, 0]) == 1 / 8
    assert sign_flip_test([-1, 2, 3], [0, 0, 0]) == 2 / 8
    assert sign_flip_test([1, 2, 3], [0, 0, 0], "two-sided") == 2 / 8
    assert sign_flip_test([1, 2, 3], [0, 0, 0], "less") == 1
    assert sign_flip_test([0.1, 0.2, -0.3], [0, 0, 0]) == 5 / 8  # rounding decides no tie
    assert sign_flip_test([1, 1], [1, 1]) == 1


def test_many_pairs_are_counted_on_random_choices():
    a = drawn(20, 0.7, seed=1)[0].tolist()
    p_value = sign_flip_test(a, [0.0] * 20)
    assert p_value == sign_flip_test(a, [0.0] * 20)
    # the t-test's, within what 99,999 choices and a law that is not normal leave
    assert p_value == pytest.approx(stats.ttest_1samp(a, 0, alternative="greater").pvalue, rel=0.5)
    assert sign_flip_test([1.0] * 20, [0.0] * 20) == pytest.approx(1e-5, rel=0.01)


def test_a_sign_flip_test_errs_as_often_as_its_level_says():
    runs = 1000
    errs = sum(sign_flip_test(row, [0.0] * 8) <= 8 / 256 for row in drawn(8, runs=runs)) / runs
    assert within_chance(errs, 8 / 256, runs)


@pytest.mark.parametrize("margin", [0.2, 0.6, 2.0])
def test_equivalence_is_two_one_sided_tests(margin):
    a = drawn(9, 0.2, seed=3)[0]
    below = stats.ttest_1samp(a, -margin, alternative="greater").pvalue
    above = stats.ttest_1samp(a, margin, alternative="less").pvalue
    assert equivalence_test(a.tolist(), [0.0] * 9, margin) == pytest.approx(max(below, above))


def test_equivalence_without_any_spread():
    assert equivalence_test([1, 1, 1], [1, 1, 1], 0.1) == 0
    assert equivalence_test([2, 2, 2], [1, 1, 1], 0.5) == 1


def test_equivalence_errs_as_often_as_its_level_says_where_the_difference_is_the_margin():
    runs, zeros = 2000, [0.0] * 10
    rows = np.random.default_rng(0).normal(1.0, 0.5, (runs, 10))
    errs = sum(equivalence_test(row, zeros, 1.0) <= 0.05 for row in rows) / runs
    assert within_chance(errs, 0.05, runs)


@pytest.mark.parametrize(("effect", "seeds", "level"), [(0.8, 8, 0.05), (0.5, 20, 0.025)])
def test_power_is_the_share_of_effects_that_are_found(effect, seeds, level):
    runs = 20_000
    rows = np.random.default_rng(1).normal(effect, 1.0, (runs, seeds))
    found = (stats.ttest_1samp(rows, 0, axis=1, alternative="greater").pvalue <= level).mean()
    assert within_chance(found, power(effect, 1.0, seeds, level), runs)


def test_power_at_its_ends():
    assert power(0, 1, 10, 0.05) == pytest.approx(0.05)
    assert power(100, 1, 10, 0.05) == pytest.approx(1)
    assert power(1, 2, 30) == pytest.approx(power(10, 20, 30))  # of any unit
    assert power(-1, 1, 30) < 1e-6
