"""Networks whose passes are hardly functions, against derivatives of J without the library.

J is computed anew: copies of the modules, one plain gradient step, and the loss there; its
derivative is a difference quotient or, where a network holds something for a constant, what double
backward makes of it. No function of `mmlite.metamask` takes part.
"""

import copy
import random

import numpy as np
import pytest
import torch
from passes import (
    CONSTANTS,
    DIM,
    ENCODERS,
    LR,
    SAME,
    WIDTHS,
    Checkpointed,
    Counts,
    NumpyNoise,
    OwnNumpyNoise,
    OwnPythonNoise,
    OwnTorchNoise,
    PythonNoise,
    RunningScale,
    Seeds,
    TorchNoise,
    block,
    dense,
    double_backward,
    images,
    lookahead,
    problem,
    quotients,
)
from problems import one_step
from torch import nn
from torch.nn import functional as F

from mmlite.contrastive import nt_xent
from mmlite.metamask import meta_gradient, virtual_step


@pytest.mark.parametrize("name", ENCODERS)
def test_the_meta_gradient_is_the_difference_quotient(name):
    parts = problem(ENCODERS[name])
    wanted = quotients(*parts)
    state = copy.deepcopy(parts[0].state_dict())
    found = {}
    for method in SAME:
        Seeds.plant(parts[0])
        found[method] = meta_gradient(*parts, LR, method=method)
        # the quotient's own error, see there
        torch.testing.assert_close(found[method], wanted, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found["exact"], found["unrolled"], rtol=1e-10, atol=1e-13)
    for key, value in parts[0].state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("name", CONSTANTS)
def test_what_a_network_holds_for_a_constant_has_no_derivative(name):
    parts = problem(CONSTANTS[name])
    Seeds.plant(parts[0])
    exact, unrolled = (meta_gradient(*parts, LR, method=method) for method in SAME)
    wanted = double_backward(*parts)
    torch.testing.assert_close(exact, wanted, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(unrolled, wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("method", ["exact", "unrolled", "first-order", "finite-difference"])
@pytest.mark.parametrize("where", ["encoder", "head"])
@pytest.mark.parametrize("lr", [0.1, 10.0])
def test_activation_checkpointing_changes_nothing(where, method, reentrant, lr):
    encoder, head, mask, views = problem(lambda: nn.Sequential(nn.Flatten(), *map(block, *WIDTHS)))
    wanted = meta_gradient(encoder, head, mask, views, lr, method=method)
    if where == "encoder":
        encoder = nn.Sequential(encoder[0], Checkpointed(*encoder[1:], reentrant=reentrant))
    else:
        head = Checkpointed(*head, reentrant=reentrant)
    found = meta_gradient(encoder, head, mask, views, lr, method=method)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "layer", [NumpyNoise, PythonNoise, TorchNoise, OwnTorchNoise, OwnNumpyNoise, RunningScale]
)
def test_what_draws_or_moves_within_a_checkpoint_is_as_without_one(layer):
    torch.manual_seed(0)
    blocks = [nn.Sequential(block(12, 9), layer()), nn.Sequential(block(9, DIM), layer())]
    plain = problem(lambda: nn.Sequential(nn.Flatten(), *blocks))
    wrapped = (nn.Sequential(nn.Flatten(), Checkpointed(*blocks)), *plain[1:])
    for method in SAME:
        found = []
        for parts in (plain, wrapped):
            Seeds.plant(parts[0])
            found.append(meta_gradient(*parts, LR, method=method))
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-13)


def test_wrappers_and_sequences_of_checkpoints_change_nothing_either():
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    from torch.utils.checkpoint import checkpoint_sequential

    class Sequence(nn.Sequential):
        def forward(self, x):
            return checkpoint_sequential(list(self), 2, x, use_reentrant=False)

    encoder, head, mask, views = problem(lambda: nn.Sequential(nn.Flatten(), *map(block, *WIDTHS)))
    wanted = meta_gradient(encoder, head, mask, views, LR)
    for wrapped in (checkpoint_wrapper(encoder), Sequence(*encoder)):
        for method in SAME:
            found = meta_gradient(wrapped, head, mask, views, LR, method=method)
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)
    method = lookahead(lambda: checkpoint_wrapper(encoder))
    optimizer = torch.optim.SGD(method.model.parameters(), LR)
    for seed in (0, 1):
        one_step(method, optimizer, images(seed))
    assert method.mask.w.isfinite().all()


def test_generators_and_buffers_are_left_as_they_were():
    parts = problem(lambda: dense(OwnTorchNoise(), OwnNumpyNoise(), OwnPythonNoise()))
    drawn = []
    for _ in range(2):
        Seeds.plant(parts[0])
        noises = [parts[0][4].draw, parts[0][5].draw, parts[0][6].draw]
        if drawn:
            for method in SAME:
                meta_gradient(*parts, LR, method=method)
            virtual_step(*parts, LR)
        drawn.append(
            [
                float(torch.rand(1, generator=noises[0])),
                noises[1].random(),
                noises[2].random(),
                float(torch.rand(1)),
                np.random.rand(),  # noqa: NPY002
                random.random(),
            ]
        )
    assert drawn[0] == drawn[1]


class Queue(nn.Module):
    """A contrastive loss with a memory of earlier projections, as a buffer."""

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.register_buffer("bank", torch.randn(8, 4, generator=draw, dtype=torch.float64))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    def forward(self, z1, z2):
        logits = torch.cat([(z1 * z2).sum(1, keepdim=True), z1 @ self.bank.clone().T], 1)
        with torch.no_grad():
            start = int(self.at)
            rows = torch.arange(start, start + len(z1)) % len(self.bank)
            self.bank[rows] = z2.detach()
            self.at.fill_((start + len(z1)) % len(self.bank))
        return F.cross_entropy(logits, torch.zeros(len(z1), dtype=torch.long))


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: m.forward, lambda m: lambda a, b: m(a, b)])
def test_the_memory_of_a_loss_is_put_back(wrap):
    parts, queue = problem(dense), Queue()
    wanted = quotients(*parts, loss=queue)
    before = copy.deepcopy(queue.state_dict())
    for method in SAME:
        found = meta_gradient(*parts, LR, method=method, loss=wrap(queue))
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
        assert all(torch.equal(before[key], value) for key, value in queue.state_dict().items())


@pytest.mark.parametrize("method", ["exact", "unrolled", "first-order", "finite-difference"])
def test_passes_that_are_not_one_function_are_refused(method):
    parts = problem(lambda: dense(Counts()))
    with pytest.raises(ValueError, match="same parameters gave different representations"):
        meta_gradient(*parts, LR, method=method)
    remembered = []

    def forgetful(z1, z2):
        remembered.append(1)
        return nt_xent(z1, z2) * len(remembered)

    with pytest.raises(ValueError, match="same parameters gave different losses"):
        meta_gradient(*problem(dense), LR, method=method, loss=forgetful)


@pytest.mark.parametrize("method", ["exact", "unrolled", "first-order", "finite-difference"])
def test_a_compiled_encoder_is_taken_as_it_is(method):
    encoder, *parts = problem(dense)
    wanted = meta_gradient(encoder, *parts, LR, method=method)
    # traced, and differentiated in one backward pass alone; needs no compiler of C++
    compiled = torch.compile(encoder, backend="aot_eager")
    found = meta_gradient(compiled, *parts, LR, method=method)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)
    with pytest.raises(ValueError, match="cannot train a compiled encoder"):
        lookahead(lambda: nn.Sequential(compiled)).loss(None, images(0), None)


def test_an_operation_without_a_second_derivative_is_named():
    parts = problem(lambda: dense(nn.Hardsigmoid()))
    exact = meta_gradient(*parts, LR)
    torch.testing.assert_close(exact, quotients(*parts), rtol=1e-6, atol=1e-9)
    with pytest.raises(NotImplementedError, match=r'twice .*; method="exact" does without'):
        meta_gradient(*parts, LR, method="unrolled")
    encoder, _, mask, views = parts
    head = nn.Sequential(nn.Linear(DIM, 4), nn.Hardsigmoid()).double()
    with pytest.raises(NotImplementedError, match=r'twice .*; method="first-order" does without'):
        meta_gradient(encoder, head, mask, views, LR)
    assert meta_gradient(encoder, head, mask, views, LR, method="first-order").isfinite().all()


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_it_works_where_gradients_are_off(mode):
    parts = problem(dense)
    wanted = meta_gradient(*parts, LR)
    with mode():
        views = tuple(x.clone() for x in parts[3])
        for method in SAME:
            found = meta_gradient(*parts[:3], views, LR, method=method)
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)
        assert virtual_step(*parts[:3], views, LR)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda h: (h, h), "a tuple of 2, and the mask takes one tensor"),
        (lambda h: {"last": h}, "a dict with 'last', and the mask takes one tensor"),
        (lambda h: h[:3], r"shape \[3, 6\] for 10 images"),
        (lambda h: h.mean(), "for 10 images"),
    ],
)
@pytest.mark.parametrize("method", SAME)
def test_an_encoder_that_returns_something_else_is_told(given, message, method):
    class Returns(nn.Module):
        def forward(self, h):
            return given(h)

    parts = problem(lambda: nn.Sequential(*dense(), Returns()))
    with pytest.raises(ValueError, match=message):
        meta_gradient(*parts, LR, method=method)


def test_a_bfloat16_encoder_takes_a_float32_mask():
    encoder, head, mask, views = problem(dense)
    for part in (encoder, head):
        part.bfloat16()
    mask.float()
    seen = tuple(x.bfloat16() for x in views)
    for method in SAME:
        found = meta_gradient(encoder, head, mask, seen, LR, method=method)
        assert found.isfinite().all()
    assert mask(encoder(seen[0])).dtype == torch.bfloat16
