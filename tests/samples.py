"""What tests of several files begin with: a small set of images, and projections."""

import torch
from hypothesis import strategies as st

from mmlite import ImageSet

GOOD = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]])


def small_set(count: int = 6, channels: int = 1) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 8), generator=generator)
    return ImageSet(images.to(torch.uint8), torch.arange(count) % 3, ("a", "b", "c"), "small")


@st.composite
def projections(draw, dtype=torch.float64):
    n, p = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return [torch.randn(n, p, generator=generator, dtype=dtype) for _ in range(2)]
