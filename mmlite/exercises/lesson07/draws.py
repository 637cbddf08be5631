"""Random numbers within bounds, and the tolerance of exercises on a few numbers."""

import torch
from torch import Generator


def draw_whole(generator: Generator, low: int, high: int) -> int:
    """Return a whole number from low to high."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def draw_between(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


WHY_NUMBERS = (
    "products and quotients of a few Python floats or float32 numbers round by 1e-6 at most; the "
    "mistakes are off by more than one percent"
)
