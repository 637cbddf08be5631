"""Lookahead on the same networks: the same passes, whatever a layer draws or keeps."""

import copy

import pytest
import torch
from passes import (
    CONSTANTS,
    DIM,
    ENCODERS,
    LR,
    WIDTHS,
    Checkpointed,
    Counts,
    RunningScale,
    Seeds,
    block,
    dense,
    double_backward,
    images,
    lookahead,
    problem,
)
from problems import one_step
from torch import nn

from mmlite import TwoViews, fit, load
from mmlite.metamask import DimensionalMask, LookaheadMetaMask, MetaMask


def next_loss(make, change, clip=None):
    """Return the second batch's loss, both steps by hand with changed logits."""
    method = make()
    Seeds.plant(method.encoder)
    parameters = list(method.model.parameters())
    w = method.mask.w.detach() + change
    for seed in (0, 1):
        batch = images(seed)
        h = method.encoder(torch.cat([batch[:, 0], batch[:, 1]])) * torch.sigmoid(w)
        pairs = [head(h).chunk(2) for head in method.heads]
        value = method.joint(*zip(*pairs, strict=True))
        gradient = torch.autograd.grad(value, parameters)
        scale = 1.0
        if clip:
            length = torch.cat([g.flatten() for g in gradient]).norm()
            scale = min(1.0, clip / (float(length) + 1e-6))
        with torch.no_grad():
            for p, g in zip(parameters, gradient, strict=True):
                p -= LR * scale * g
    return float(value.detach())


def by_quotient(make, **options):
    found = []
    for dimension in range(DIM):
        change = torch.zeros(DIM, dtype=torch.float64)
        change[dimension] = 1e-5
        found.append(
            (next_loss(make, change, **options) - next_loss(make, -change, **options)) / 2e-5
        )
    return torch.tensor(found, dtype=torch.float64)


def after_two_steps(method):
    """Return how the logits moved: against the derivative, for their learning rate is 1."""
    Seeds.plant(method.encoder)
    start = method.mask.w.detach().clone()
    optimizer = torch.optim.SGD(method.model.parameters(), LR)
    for seed in (0, 1):
        one_step(method, optimizer, images(seed))
    return start - method.mask.w.detach()


@pytest.mark.parametrize("name", ENCODERS)
def test_lookahead_is_the_difference_quotient(name):
    make = lambda: lookahead(ENCODERS[name])  # noqa: E731
    torch.testing.assert_close(after_two_steps(make()), by_quotient(make), rtol=1e-6, atol=1e-9)


# the vectors of a spectral norm move with each step, which the reference does not know
@pytest.mark.parametrize("name", [name for name in CONSTANTS if "spectral" not in name])
def test_lookahead_too_holds_it_for_a_constant(name):
    method = lookahead(CONSTANTS[name])
    first, second = ((x[:, 0], x[:, 1]) for x in (images(0), images(1)))
    parts = method.encoder, method.heads, method.mask, first
    wanted = double_backward(*parts, method.joint, second)
    torch.testing.assert_close(after_two_steps(method), wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reentrant", [False, True])
def test_lookahead_does_not_see_checkpointing(reentrant):
    def make(wrapped):
        encoder = nn.Sequential(nn.Flatten(), *map(block, *WIDTHS))
        if wrapped:
            encoder = nn.Sequential(encoder[0], Checkpointed(*encoder[1:], reentrant=reentrant))
        return encoder

    # a reentrant checkpoint has gradients only if its input has
    batch = [images(seed).requires_grad_() for seed in (0, 1)]
    moved = []
    for wrapped in (False, True):
        method = lookahead(lambda: make(wrapped))  # noqa: B023
        start = method.mask.w.detach().clone()
        optimizer = torch.optim.SGD(method.model.parameters(), LR)
        for one in batch:
            one_step(method, optimizer, one)
        moved.append(start - method.mask.w.detach())
    torch.testing.assert_close(*moved, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("clip", [0.05, 100.0])
def test_lookahead_knows_of_the_clipping_that_it_does(clip):
    make = lambda: lookahead(dense, clip_norm=clip)  # noqa: E731
    method = make()
    moved = after_two_steps(method)
    torch.testing.assert_close(moved, by_quotient(make, clip=clip), rtol=1e-6, atol=1e-9)
    assert method.pending.clipped.share < 1 if clip < 1 else method.pending.clipped.share == 1


def test_lookahead_refuses_gradients_that_something_else_changed():
    method = lookahead(dense)
    optimizer = torch.optim.SGD(method.model.parameters(), LR)

    def clip(optimizer):
        nn.utils.clip_grad_norm_(method.model.parameters(), 0.01)

    with pytest.raises(ValueError, match="give LookaheadMetaMask clip_norm"):
        one_step(method, optimizer, images(0), clip)
    method.loss(method.model, images(0), None).backward()
    clip(optimizer)
    with pytest.raises(ValueError, match="give LookaheadMetaMask clip_norm"):
        method.before_step(optimizer)
    with pytest.raises(ValueError, match="clip_norm must be a finite number greater than 0"):
        lookahead(dense, clip_norm=0.0)


def test_lookahead_refuses_passes_that_are_not_one_function():
    method = lookahead(lambda: dense(Counts()))
    optimizer = torch.optim.SGD(method.model.parameters(), LR)
    one_step(method, optimizer, images(0))
    with pytest.raises(ValueError, match="two passes at the same parameters"):
        one_step(method, optimizer, images(1))


def test_lookahead_sees_a_change_before_a_convolution_that_is_kept():
    encoder = nn.Sequential(
        Counts(), nn.Conv2d(16, DIM, 3, padding=1), nn.AvgPool2d(4), nn.Flatten()
    )
    method = lookahead(lambda: encoder, lambda images, generator: (images, images.flip(2)))
    optimizer = torch.optim.SGD(method.model.parameters(), LR)
    batch = torch.rand(5, 16, 4, 4, dtype=torch.float64)
    one_step(method, optimizer, batch)
    with pytest.raises(ValueError, match="two passes at the same parameters"):
        one_step(method, optimizer, batch)


def test_lookahead_goes_on_when_a_part_is_frozen_on_the_way():
    method = lookahead(dense)
    optimizer = torch.optim.SGD(method.model.parameters(), LR)
    one_step(method, optimizer, images(0))
    method.encoder[1].requires_grad_(False)
    before = method.mask.w.detach().clone()
    one_step(method, optimizer, images(1))  # what is missing of the derivative: no meta step
    assert torch.equal(before, method.mask.w.detach())
    one_step(method, optimizer, images(2))
    assert not torch.equal(before, method.mask.w.detach())


def test_the_heads_buffers_move_as_in_any_training_step():
    method = lookahead(dense)
    plain = copy.deepcopy(method.model)
    batch = images(0)
    method.loss(method.model, batch, None)
    mask = method.mask.entries.detach()
    for head in plain["heads"]:
        head(plain["encoder"](torch.cat([batch[:, 0], batch[:, 1]])).detach() * mask)
    for (name, moved), wanted in zip(
        method.heads.named_buffers(), plain["heads"].buffers(), strict=True
    ):
        torch.testing.assert_close(moved, wanted, msg=name)


def test_a_head_with_a_running_scale_trains_with_lookahead():
    encoder, head, mask, _ = problem(dense)
    head = nn.Sequential(RunningScale(), head)
    method = LookaheadMetaMask(
        encoder,
        head,
        copy.deepcopy(head),
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        lambda images, generator: (images[:, 0], images[:, 1]),
    )
    optimizer = torch.optim.SGD(method.model.parameters(), LR)
    for seed in range(3):
        one_step(method, optimizer, images(seed))
    assert float(head[0].scale) != 1.0


@pytest.mark.parametrize("kind", [MetaMask, LookaheadMetaMask])
def test_a_transformer_of_torchvision_trains_with_a_mask(kind):
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    encoder = VisionTransformer(
        28, 14, 1, 2, 12, 16, num_classes=DIM, dropout=0.1, attention_dropout=0.1
    )
    encoder.conv_proj = nn.Conv2d(1, 12, 14, 14)
    mask = DimensionalMask(DIM)
    heads = [nn.Linear(DIM, 4) for _ in range(2)]
    method = kind(encoder, *heads, mask, torch.optim.SGD(mask.parameters(), 1.0), TwoViews())
    hooks = {"after_step": method.after_step}
    if kind is LookaheadMetaMask:
        hooks["before_step"] = method.before_step
    train = load("fashion", "train", size=16)
    fit(method.model, method.loss, train, epochs=1, batch_size=8, progress=False, **hooks)
    assert float(mask.w.detach().abs().max()) > 0
