"""Training with a mask: each step against the gradients that it should take."""

import math

import pytest
import torch
from problems import plain_images, small_method

from mmlite import TwoViews, fit, small_conv
from mmlite.metamask import LookaheadMetaMask, MetaMask, meta_gradient


def test_metamask_trains_and_its_meta_step_is_meta_gradient():
    torch.manual_seed(0)
    encoder = small_conv(1, 8)
    method = small_method(MetaMask, encoder, TwoViews(crop=(0.4, 1.0)), every=2)
    mask = method.mask
    taken = []

    def after_step(optimizer):
        before = mask.w.detach().clone()
        wanted = meta_gradient(encoder, method.heads[0], mask, method.seen, 0.1)
        method.after_step(optimizer)
        taken.append((mask.w.detach() - before, wanted))

    fit(method.model, method.loss, plain_images(), epochs=2, batch_size=16, after_step=after_step)
    assert len(taken) == 6
    for index, (step, gradient) in enumerate(taken):
        # w is rounded to float32 when the step is added: 1e-7 of a logit below 1
        wanted = -gradient if index % 2 else torch.zeros(8)
        assert torch.allclose(step, wanted, atol=1e-6)
    assert not any(name.startswith("mask") for name, _ in method.model.named_parameters())


def test_metamask_can_step_as_long_as_the_optimizer_and_look_elsewhere():
    torch.manual_seed(0)
    calls = []

    def outer(images, generator):
        calls.append(len(images))
        return images.float() / 255, images.float() / 255

    method = small_method(
        MetaMask, small_conv(1, 8), TwoViews(), lr=0.1, virtual_lr=None, outer_views=outer
    )
    fit(
        method.model,
        method.loss,
        plain_images(),
        epochs=1,
        batch_size=16,
        after_step=method.after_step,
    )
    assert calls == [16, 16, 16]
    assert float(method.mask.w.detach().abs().max()) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 0}, "every"),
        ({"every": 1.5}, "every must be a whole number"),
        ({"redundancy_weight": -1.0}, "at least 0"),
        ({"redundancy_weight": math.inf}, "redundancy_weight must be a finite"),
        ({"virtual_lr": -1.0}, "virtual_lr must be a finite"),
        ({"method": "exakt"}, "method must be one of exact"),
    ],
)
def test_metamask_refuses_what_makes_no_sense(change, message):
    encoder = small_conv(1, 8)
    with pytest.raises(ValueError, match=message):
        small_method(MetaMask, encoder, TwoViews(), **change)
    with pytest.raises(TypeError, match="virtual_lr"):  # its virtual step is the training step
        small_method(LookaheadMetaMask, encoder, TwoViews(), virtual_lr=0.1)


@pytest.mark.parametrize("dim", [1, 4])
def test_a_mask_of_another_width_is_told_in_the_first_step(dim):
    method = small_method(MetaMask, small_conv(1, 8), TwoViews(), dim=dim)
    with pytest.raises(ValueError, match=f"the mask has {dim} dimensions"):
        method.loss(method.model, plain_images().images, torch.Generator())
