"""Lookahead against the derivative of the next loss."""

import copy

import pytest
import torch
from problems import (
    OPTIMIZERS,
    error,
    odd_network,
    one_step,
    plain_images,
    small_method,
    written_to,
)
from torch import nn

from mmlite import TwoViews, fit, projector, resnet18, small_conv
from mmlite.metamask import DimensionalMask, LookaheadMetaMask, meta_gradient


@pytest.mark.parametrize("name", ["momentum", "AdamW"])
@pytest.mark.parametrize("every", [1, 2])
def test_lookahead_is_the_derivative_of_the_next_loss(name, every):
    """Redo two iterations with a change of the logits that lasts through both."""
    torch.manual_seed(0)
    dim = 6
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Softplus(), nn.Linear(9, dim)
    ).double()
    heads = [projector(dim, 7, 4).double() for _ in range(2)]
    for head in heads:
        head[2] = nn.Softplus()  # no kinks for the quotient to step over
    mask = DimensionalMask(dim).double()
    method = LookaheadMetaMask(
        encoder,
        *heads,
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        lambda images, generator: (images[:, 0], images[:, 1]),
        redundancy_weight=0.3,
        every=every,
    )
    optimizer = OPTIMIZERS[name](list(method.model.parameters()))
    batches = [torch.rand(5, 2, 3, 2, 2, dtype=torch.float64) for _ in range(6)]
    moves, snapshots = [], []
    for batch in batches:
        before = mask.w.detach().clone()
        snapshots.append(
            (
                before,
                copy.deepcopy(method.model.state_dict()),
                copy.deepcopy(optimizer.state_dict()),
            )
        )
        optimizer.zero_grad()
        method.loss(method.model, batch, None).backward()
        method.before_step(optimizer)
        moves.append(before - mask.w.detach())
        optimizer.step()
        method.after_step(optimizer)
    assert [bool(move.any()) for move in moves] == [
        index > 0 and index % every == 0 for index in range(6)
    ]

    def next_loss(first: int, change: torch.Tensor) -> float:
        """Return the loss of batch first + 1, both iterations run with changed logits."""
        _, model, state = copy.deepcopy(snapshots[first])
        network = copy.deepcopy(method.model)
        network.load_state_dict(model)
        again = OPTIMIZERS[name](list(network.parameters()))
        again.load_state_dict(state)
        values = []
        for index in (first, first + 1):
            moved = torch.sigmoid(snapshots[index][0] + change)
            h = network["encoder"](torch.cat([batches[index][:, 0], batches[index][:, 1]])) * moved
            pairs = [head(h).chunk(2) for head in network["heads"]]
            value = method.joint(*zip(*pairs, strict=True))
            again.zero_grad()
            value.backward()
            again.step()
            values.append(value.item())
        return values[1]

    first = 3
    step = 1e-5
    for dimension in (0, 4):
        change = torch.zeros(dim, dtype=torch.float64)
        change[dimension] = step
        quotient = (next_loss(first, change) - next_loss(first, -change)) / (2 * step)
        # step² times a third derivative that Adam's square root makes large
        assert float(moves[first + 1][dimension]) == pytest.approx(quotient, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("make", [lambda: small_conv(3, 8), lambda: resnet18(3, 8), written_to])
def test_lookahead_of_plain_sgd_is_the_meta_gradient_of_the_whole_loss(make):
    torch.manual_seed(0)
    encoder = make().double()
    dim = encoder(torch.rand(1, 3, 8, 8, dtype=torch.float64).repeat(2, 1, 1, 1)).shape[1]
    mask = DimensionalMask(dim).double()
    method = LookaheadMetaMask(
        encoder,
        *[projector(dim, 8, 4).double() for _ in range(2)],
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        lambda images, generator: (images[:, 0], images[:, 1]),
        redundancy_weight=0.3,
    )
    optimizer = torch.optim.SGD(method.model.parameters(), 0.1)
    first, second = (torch.rand(5, 2, 3, 8, 8, dtype=torch.float64) for _ in range(2))
    wanted = meta_gradient(
        encoder,
        method.heads,
        mask,
        (first[:, 0], first[:, 1]),
        0.1,
        method="unrolled",
        outer_views=(second[:, 0], second[:, 1]),
        loss=method.joint,
    )
    for images in (first, second):
        one_step(method, optimizer, images)
    assert error(-mask.w.detach(), wanted) < 1e-10


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_lookahead_passes_over_a_parameter_that_is_not_used(kind):
    torch.manual_seed(0)
    encoder = small_conv(1, 8)
    encoder.register_parameter("spare", nn.Parameter(torch.ones(3)))
    method = small_method(LookaheadMetaMask, encoder, lambda images, generator: (images, images))
    optimizer = kind(method.model.parameters(), 0.1)
    for _ in range(3):
        one_step(method, optimizer, torch.rand(4, 1, 8, 8))
    assert bool(method.mask.w.isfinite().all())
    assert float(method.mask.w.detach().abs().max()) > 0


def test_lookahead_leaves_frozen_parameters_out():
    torch.manual_seed(0)
    encoder = small_conv(1, 8)
    encoder[1].weight.requires_grad_(False)
    method = small_method(LookaheadMetaMask, encoder, TwoViews())
    before = encoder[1].weight.clone()
    hooks = {"before_step": method.before_step, "after_step": method.after_step}
    fit(method.model, method.loss, plain_images(), epochs=1, batch_size=16, **hooks)
    assert torch.equal(encoder[1].weight, before)
    assert float(method.mask.w.detach().abs().max()) > 0


def test_lookahead_repeats_the_draws_of_dropout():
    torch.manual_seed(0)
    encoder = odd_network(8)
    method = small_method(LookaheadMetaMask, encoder, lambda images, generator: (images, images))
    optimizer = torch.optim.SGD(method.model.parameters(), 0.1)
    x = torch.rand(4, 3, 8, 8)
    seen = []
    encoder[4].register_forward_hook(lambda module, inputs, out: seen.append(out.detach() == 0))
    for _ in range(2):
        one_step(method, optimizer, x)
    first, second, again = seen
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_copy_goes_on_as_the_original_and_leaves_it_alone(steps, clip_norm):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Linear(9, 6))
    mask = DimensionalMask(6)
    method = LookaheadMetaMask(
        encoder,
        projector(6, 7, 4),
        projector(6, 7, 4),
        mask,
        torch.optim.Adam(mask.parameters(), 0.1),
        lambda images, generator: (images[:, 0], images[:, 1]),
        clip_norm=clip_norm,
    )
    batches = torch.rand(8, 5, 2, 3, 2, 2)

    def train(one, optimizer, batches):
        for batch in batches:
            optimizer.zero_grad()
            one.loss(one.model, batch, None).backward()
            one.before_step(optimizer)
            optimizer.step()
            one.after_step(optimizer)

    optimizer = torch.optim.SGD(method.model.parameters(), 0.1)  # it has no state to copy
    train(method, optimizer, batches[:steps])
    copied = copy.deepcopy(method)
    before = mask.w.detach().clone()
    train(copied, torch.optim.SGD(copied.model.parameters(), 0.1), batches[steps:])
    assert torch.equal(mask.w, before)
    train(method, optimizer, batches[steps:])
    assert not torch.equal(mask.w, before)
    assert copied.steps == method.steps == 8
    for name, value in method.model.state_dict().items():
        assert torch.equal(copied.model.state_dict()[name], value), name
    assert torch.equal(copied.mask.w, mask.w)
