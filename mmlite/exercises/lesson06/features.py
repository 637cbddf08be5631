"""What exercises of lesson 06 draw: two views of images whose classes are of unequal size."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def labels_of(generator: Generator, size: int) -> Tensor:
    """Return labels [N]: each class occurs, and the first is the largest."""
    classes = min(size, 2 + size // 8)
    drawn = torch.rand(size, generator=generator).square() * classes
    labels = drawn.long().clamp(max=classes - 1)
    labels[:classes] = torch.arange(classes)
    return labels


def views_of(generator: Generator, labels: Tensor, dim: int = 4) -> tuple[Tensor, Tensor]:
    """Return unit features [N, D] of two views, which lie near their image's, near its class's."""
    centers = torch.randn(int(labels.max()) + 1, dim, generator=generator)
    image = centers[labels] + 0.7 * torch.randn(len(labels), dim, generator=generator)
    views = (image + 0.4 * torch.randn(len(labels), dim, generator=generator) for _ in range(2))
    f1, f2 = (F.normalize(view, dim=1) for view in views)
    return f1, f2
