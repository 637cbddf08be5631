"""What several runs say together: a mean difference and its interval."""

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


def _numbers(name: str, values: Sequence[float]) -> list[float]:
    """Return the finite numbers of a list, tuple, array or tensor [N]."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise checks.wrong(name, "one number for each seed", values)
    listed = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(listed, Sequence):
        raise checks.wrong(name, "one number for each seed", values)
    plain = (v.item() if isinstance(v, Tensor) and v.dim() == 0 else v for v in listed)
    return [checks.real(f"{name}[{place}]", value) for place, value in enumerate(plain)]
