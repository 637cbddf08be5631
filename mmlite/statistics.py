"""What several runs say together: a difference and its interval, tests, power, several at once.

All of it is about pairs: two methods, each run with the same seeds, and the differences seed by
seed. The tests that assume a normal law of these differences are Student's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmlite.support import checks

ALTERNATIVES = ("greater", "less", "two-sided")
EXACT = 16  # pairs up to which all choices of signs are counted: 65,536
FLIPS = 99_999  # random choices beyond


class Interval(NamedTuple):
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of a − b over seeds with its Student-t confidence interval.

    Args:
        a: one number a seed, at least 2.
        b: as a, of the same seeds in the same order.
        confidence: the interval's coverage, between 0 and 1.

    Raises:
        ValueError: the lengths differ, there are fewer than 2 pairs, a number is NaN or infinite,
            or the confidence is off.

    Example:
        >>> found = mmlite.paired_difference([0.74, 0.70, 0.72], [0.70, 0.68, 0.69])
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
        (0.03, 0.005, 0.055)
    """
    difference = _differences(a, b)
    confidence = checks.real("confidence", confidence, above=0, below=1)
    from scipy import stats  # here, because it takes seconds

    mean, error = _mean_and_error(difference)
    reach = float(stats.t.ppf((1 + confidence) / 2, len(difference) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def sign_flip_test(a: Sequence[float], b: Sequence[float], alternative: str = "greater") -> float:
    """Return the p-value of a mean difference if a and b could be exchanged within each pair.

    If both come from one law, each difference is as likely with the other sign: the p-value is the
    share of the 2^n choices of signs whose mean is as far out as the one that was found (Fisher
    1935). Beyond 16 pairs it is counted on 99,999 random choices and the one found. No normal law
    is assumed. With n pairs the one-sided p-value is never below 2^−n.

    Args:
        a: one number a seed, at least 2.
        b: as a, of the same seeds in the same order.
        alternative: "greater" if a is held to be more than b, "less", or "two-sided".

    Raises:
        ValueError: as `paired_difference`, or the alternative is none of these.

    Example:
        >>> mmlite.sign_flip_test([0.74, 0.70, 0.72], [0.70, 0.68, 0.69])  # one of 8 choices
        0.125
    """
    difference = _differences(a, b)
    alternative = checks.choice("alternative", alternative, ALTERNATIVES)
    pairs = len(difference)
    if pairs <= EXACT:
        choices = torch.arange(2**pairs)[:, None] >> torch.arange(pairs) & 1
        more = 0
    else:
        generator = torch.Generator().manual_seed(0)
        choices = torch.randint(0, 2, (FLIPS, pairs), generator=generator)
        more = 1  # the one that was found
    means = (1.0 - 2 * choices.double()) @ difference / pairs
    found = difference.mean()
    if alternative == "two-sided":
        means, found = means.abs(), found.abs()
    elif alternative == "less":
        means, found = -means, -found
    rounding = 1e-12 * float(difference.abs().max())  # sums of equal numbers in another order
    return float((means >= found - rounding).sum() + more) / (len(means) + more)


def equivalence_test(a: Sequence[float], b: Sequence[float], margin: float) -> float:
    """Return the p-value against "a and b differ by the margin or more".

    Two one-sided paired t-tests (Schuirmann 1987), one against a difference of −margin or less and
    one against +margin or more; the p-value is the greater of theirs. That a difference is not
    significant says nothing of the kind: too few seeds, and nothing is.

    Args:
        a: one number a seed, at least 2.
        b: as a, of the same seeds in the same order.
        margin: the least difference that would matter, > 0.

    Raises:
        ValueError: as `paired_difference`, or the margin is none.

    Example:
        >>> round(mmlite.equivalence_test([0.71, 0.70, 0.72], [0.70, 0.71, 0.72], margin=0.05), 3)
        0.007
    """
    difference = _differences(a, b)
    margin = checks.real("margin", margin, above=0)
    from scipy import stats  # here, because it takes seconds

    mean, error = _mean_and_error(difference)
    nearest = margin - abs(mean)  # the end of the margin that is harder to exclude
    if error == 0:
        return 0.0 if nearest > 0 else 1.0
    return float(stats.t.sf(nearest / error, len(difference) - 1))


def power(effect: float, deviation: float, seeds: int, level: float = 0.025) -> float:
    """Return how likely a one-sided paired t-test finds an effect.

    From the noncentral t law with seeds − 1 degrees of freedom and noncentrality
    √seeds · effect / deviation.

    Args:
        effect: the mean difference that there is.
        deviation: of the differences from seed to seed, > 0.
        seeds: how many pairs, at least 2.
        level: of the test, between 0 and 1.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> round(mmlite.power(effect=1.0, deviation=1.1, seeds=20), 2)
        0.97
    """
    effect = checks.real("effect", effect)
    deviation = checks.real("deviation", deviation, above=0)
    seeds, level = checks.whole("seeds", seeds, 2), checks.real("level", level, above=0, below=1)
    from scipy import stats  # here, because it takes seconds

    needed = stats.t.isf(level, seeds - 1)
    return float(stats.nct.sf(needed, seeds - 1, seeds**0.5 * effect / deviation))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several (Holm 1979).

    The least of m is multiplied by m, the next by m − 1, and so on; none is less than one before
    it, nor above 1. Whoever calls significant what is at most α after that is wrong about one or
    more of them with a probability of at most α, however they depend on each other.

    Args:
        p_values: each from 0 to 1.

    Returns:
        The adjusted values, in the order given.

    Raises:
        ValueError: there is none, or one is no number from 0 to 1.

    Example:
        >>> [round(p, 3) for p in mmlite.holm([0.04, 0.01, 0.03])]
        [0.06, 0.03, 0.06]
    """
    p_values = _numbers("p_values", p_values)
    if not p_values or not all(0 <= p <= 1 for p in p_values):
        raise checks.wrong("p_values", "one or more numbers from 0 to 1", p_values)
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted


def _differences(a: Sequence[float], b: Sequence[float]) -> Tensor:
    """Return a − b, float64 [n], of two lists of the same length of at least 2."""
    a, b = _numbers("a", a), _numbers("b", b)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"a and b need the same length of at least 2, got {len(a)} and {len(b)}")
    return torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)


def _mean_and_error(difference: Tensor) -> tuple[float, float]:
    """Return the mean of differences [n] and its standard error."""
    return float(difference.mean()), float(difference.std()) / len(difference) ** 0.5


def _numbers(name: str, values: Sequence[float]) -> list[float]:
    """Return the finite numbers of a list, tuple, array or tensor [N]."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise checks.wrong(name, "one number for each seed", values)
    listed = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(listed, Sequence):
        raise checks.wrong(name, "one number for each seed", values)
    plain = (v.item() if isinstance(v, Tensor) and v.dim() == 0 else v for v in listed)
    return [checks.real(f"{name}[{place}]", value) for place, value in enumerate(plain)]
