"""What several runs say together: a mean difference, its interval, several comparisons at once."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmlite.support import checks


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
    a, b = _numbers("a", a), _numbers("b", b)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"a and b need the same length of at least 2, got {len(a)} and {len(b)}")
    confidence = checks.real("confidence", confidence, above=0, below=1)
    difference = torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)
    from scipy import stats  # here, because it takes seconds

    mean = float(difference.mean())
    error = float(difference.std()) / len(a) ** 0.5
    reach = float(stats.t.ppf((1 + confidence) / 2, len(a) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


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


def _numbers(name: str, values: Sequence[float]) -> list[float]:
    """Return the finite numbers of a list, tuple, array or tensor [N]."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise checks.wrong(name, "one number for each seed", values)
    listed = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(listed, Sequence):
        raise checks.wrong(name, "one number for each seed", values)
    plain = (v.item() if isinstance(v, Tensor) and v.dim() == 0 else v for v in listed)
    return [checks.real(f"{name}[{place}]", value) for place, value in enumerate(plain)]
