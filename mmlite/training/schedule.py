"""The learning rate over a run."""

import math


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Return the factor on the learning rate: a linear rise, then a half cosine down to 0.

    Args:
        step: 0 to total.
        total: steps in the run.
        warmup: share of them that the rise takes.
    """
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
