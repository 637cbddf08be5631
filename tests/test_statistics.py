"""Intervals over seeds, against SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from mmlite.statistics import paired_difference


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
