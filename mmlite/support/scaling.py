"""Numbers brought to a scale at which their squares can be had."""

import torch
from torch import Tensor


def over_largest(h: Tensor, largest: Tensor) -> Tensor:
    """Return h over its largest absolute entry: squares neither overflow nor vanish then.

    For what does not see the scale, such as a cosine, a correlation or a share of variance.

    Args:
        h: float, of any shape.
        largest: of the whole of h, or of its rows or columns; 0 leaves them as they are.
    """
    return h / torch.where(largest > 0, largest, 1)
