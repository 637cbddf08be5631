"""Autocast is kept out where types must stay, and only there."""

import pytest
import torch

from mmlite.support.autocast import unrounded


@pytest.mark.parametrize("wanted", [False, True])
def test_a_product_keeps_its_type_within_and_autocast_goes_on_behind(wanted):
    h = torch.rand(3, 4)
    with torch.autocast("cpu", torch.bfloat16, enabled=wanted):
        before = h @ h.T
        with unrounded(h.device):
            within = h @ h.T
        behind = h @ h.T
    assert within.dtype == torch.float32
    assert before.dtype == behind.dtype == (torch.bfloat16 if wanted else torch.float32)


def test_a_device_without_autocast_needs_no_care():
    h = torch.rand(3, 4, device="meta")
    with unrounded(h.device):
        assert (h @ h.T).dtype == torch.float32
