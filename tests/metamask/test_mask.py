"""The mask itself."""

import math

import pytest
import torch
from torch import nn

from mmlite.metamask import DimensionalMask


@pytest.mark.parametrize("dim", [0, -1, 2.0])
def test_a_mask_needs_a_dimension(dim):
    with pytest.raises(ValueError, match="at least 1"):
        DimensionalMask(dim)


def test_the_mask_scales_values_and_gradients():
    mask = DimensionalMask(3)
    assert torch.equal(mask.entries, torch.full((3,), 0.5))
    nn.init.constant_(mask.w, math.log(3.0))
    h = torch.ones(2, 3, requires_grad=True)
    out = mask(h)
    assert torch.allclose(out, torch.full((2, 3), 0.75))
    out.sum().backward()
    assert torch.allclose(h.grad, torch.full((2, 3), 0.75))
