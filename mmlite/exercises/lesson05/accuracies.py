"""What exercises of lesson 05 draw: accuracies of two methods that share their seeds."""

import torch
from torch import Generator, Tensor


def paired_accuracies(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return accuracies a and b [n] of n ≥ 2 seeds: each seed is lucky or not for both of them."""
    luck = 0.03 * torch.randn(size, generator=generator)
    gain = 0.02 * torch.randn((), generator=generator)
    own = 0.01 * torch.randn(2, size, generator=generator)
    return 0.7 + luck + gain + own[0], 0.7 + luck + own[1]
