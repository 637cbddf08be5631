"""Intervals over seeds, against SciPy; several comparisons, against all their subsets."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from mmlite.statistics import holm, paired_difference


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
