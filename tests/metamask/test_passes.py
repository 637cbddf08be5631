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
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmlite import TwoViews, fit, load
from mmlite.contrastive import nt_xent
from mmlite.metamask import (
    DimensionalMask,
    LookaheadMetaMask,
    MetaMask,
    meta_gradient,
    virtual_step,
)

DIM, LR = 6, 0.5
SAME = ("exact", "unrolled")


class Seeds:
    """Put every random generator that a test's modules use into one state."""

    @staticmethod
    def plant(*modules):
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        for module in (m for top in modules for m in top.modules()):
            for name, value in vars(module).items():
                if isinstance(value, torch.Generator):
                    value.manual_seed(5)
                elif isinstance(value, np.random.Generator):
                    setattr(module, name, np.random.default_rng(5))
                elif isinstance(value, random.Random):
                    value.seed(5)


def loss_after_a_step(encoder, head, w, views, loss, lr=LR, outer=None):
    """Return J(w), on copies: both passes begin with the same generators and buffers."""
    start = encoder, head, loss if isinstance(loss, nn.Module) else None
    parts = copy.deepcopy(start)

    def value(seen):
        fresh = copy.deepcopy(start)
        for part, new in zip(parts, fresh, strict=True):  # buffers as they were
            both = (one.modules() if one is not None else [] for one in (part, new))
            for old_m, new_m in zip(*both, strict=True):
                old_m._buffers.update(new_m._buffers)
        Seeds.plant(*(p for p in parts if p is not None))
        z = parts[1](parts[0](torch.cat(seen)) * torch.sigmoid(w))
        return (loss if parts[2] is None else parts[2])(*z.chunk(2))

    parameters = [p for part in parts[:2] for p in part.parameters()]
    gradient = torch.autograd.grad(value(views), parameters, materialize_grads=True)
    with torch.no_grad():
        for p, g in zip(parameters, gradient, strict=True):
            p -= lr * g
    return float(value(outer or views).detach())


def quotients(encoder, head, mask, views, loss=nt_xent, step=1e-5, **options):
    """Return ∂J/∂w by central differences: they err by step² and, by rounding, 1e-16 / step."""
    found = []
    for dimension in range(len(mask.w)):
        change = torch.zeros_like(mask.w)
        change[dimension] = step
        ahead, behind = (
            loss_after_a_step(encoder, head, mask.w.detach() + c, views, loss, **options)
            for c in (change, -change)
        )
        found.append((ahead - behind) / (2 * step))
    return torch.tensor(found, dtype=torch.float64)


def double_backward(encoder, head, mask, views, loss=nt_xent, outer=None, lr=LR):
    """Return ∂J/∂w by keeping the graph of the step; each pass begins with the same generators."""
    network = nn.ModuleDict({"0": encoder, "1": head})
    w = mask.w.detach().clone().requires_grad_()
    theta = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}

    def value(theta, seen):
        Seeds.plant(encoder, head)
        state = theta | {n: b.clone() for n, b in network.named_buffers()}
        parts = [{n[2:]: t for n, t in state.items() if n[0] == part} for part in "01"]
        h = functional_call(encoder, parts[0], (torch.cat(seen),)) * torch.sigmoid(w)
        return loss(*halves(functional_call(head, parts[1], (h,))))

    of_theta = torch.autograd.grad(
        value(theta, views), list(theta.values()), create_graph=True, materialize_grads=True
    )
    after = {n: p - lr * g for (n, p), g in zip(theta.items(), of_theta, strict=True)}
    return torch.autograd.grad(value(after, outer or views), w)[0]


def halves(z):
    if isinstance(z, torch.Tensor):
        return z.chunk(2)
    return tuple(zip(*(one.chunk(2) for one in z), strict=True))


class Checkpointed(nn.Module):
    """A network whose blocks are computed again in the backward pass."""

    def __init__(self, *blocks, reentrant=False):
        super().__init__()
        self.blocks, self.reentrant = nn.ModuleList(blocks), reentrant

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return x


class NormUnderNoGrad(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            length = x.norm(dim=1, keepdim=True)
        return x / length


class NormInInferenceMode(nn.Module):
    def forward(self, x):
        with torch.inference_mode():
            length = float(x.norm())
        return x / length


class ConvolutionUnderNoGrad(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        with torch.no_grad():
            gate = torch.sigmoid(self.one(x))
        return F.relu(self.two(x)) * gate


class StraightThrough(nn.Module):
    @torch.no_grad()
    def rest(self, x):
        return torch.round(4 * x) / 4 - x

    def forward(self, x):
        return x + self.rest(x)


class Written(nn.Module):
    """What is written to under no_grad keeps its derivative."""

    def forward(self, x):
        y = x * 1
        with torch.no_grad():
            y[:, ::2].mul_(0.5)
            first = y.view(len(y), -1)[:, :1]
        return y * (1 + first)


class Power(torch.autograd.Function):
    """A function of a user's own, with its derivatives."""

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * ctx.saved_tensors[0] * tangent


class OwnFunction(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            size = Power.apply(x).mean(1, keepdim=True)
        return Power.apply(x) / (1 + size)


class TorchNoise(nn.Module):
    def forward(self, x):
        return x * (1 + 0.3 * torch.rand_like(x))


class PythonNoise(nn.Module):
    def forward(self, x):
        return x * (1 + 0.3 * random.random()) + random.gauss(0, 0.1)


class NumpyNoise(nn.Module):
    def forward(self, x):
        return x * torch.from_numpy(1 + 0.3 * np.random.rand(*x.shape)).to(x)  # noqa: NPY002


class OwnTorchNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.draw = torch.Generator()

    def forward(self, x):
        return x * (1 + 0.3 * torch.rand(x.shape, generator=self.draw).to(x))

    def __deepcopy__(self, memo):
        return type(self)()


class OwnNumpyNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.draw = np.random.default_rng(0)

    def forward(self, x):
        return x * torch.from_numpy(1 + 0.3 * self.draw.random(x.shape)).to(x)


class OwnPythonNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.draw = random.Random(0)

    def forward(self, x):
        return x * (1 + 0.3 * self.draw.random())


class RunningScale(nn.Module):
    """A buffer that moves in training and divides what passes through."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        if self.training:
            self.scale.mul_(0.7).add_(0.3 * x.detach().abs().mean())
        return x / self.scale


class Reassigned(RunningScale):
    def forward(self, x):
        self.scale = 0.7 * self.scale + 0.3 * x.detach().abs().mean()
        return x / self.scale


def dense(*middle):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Softplus(), *middle, nn.Linear(9, DIM)
    )


def block(width_in, width_out):
    return nn.Sequential(nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out), nn.Tanh())


class Tokens(nn.Module):
    """A transformer that takes an image's pixels for tokens; float64, no dropout."""

    def __init__(self, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            4, 2, 8, dropout=0.0, activation="gelu", batch_first=True, **options
        )
        self.embed, self.layers = nn.Linear(3, 4), nn.TransformerEncoder(layer, 2)
        self.last = nn.Linear(4, DIM)

    def forward(self, x):
        return self.last(self.layers(self.embed(x.flatten(2).mT)).mean(1))


ENCODERS = {
    "checkpointed": lambda: nn.Sequential(nn.Flatten(), Checkpointed(block(12, 9), block(9, DIM))),
    "torch": lambda: dense(TorchNoise()),
    "random": lambda: dense(PythonNoise()),
    "NumPy": lambda: dense(NumpyNoise()),
    "a torch generator of its own": lambda: dense(OwnTorchNoise()),
    "a NumPy generator of its own": lambda: dense(OwnNumpyNoise()),
    "a random generator of its own": lambda: dense(OwnPythonNoise()),
    "running scale": lambda: dense(RunningScale()),
    "reassigned scale": lambda: dense(Reassigned()),
    "attention": Tokens,
    "attention, norm first": lambda: Tokens(norm_first=True),
    "attention in evaluation": lambda: Tokens().eval(),
}


# what they hold for a constant has a part in the quotient, and none in the derivative
CONSTANTS = {
    "norm under no_grad": lambda: dense(NormUnderNoGrad()),
    "norm in inference mode": lambda: dense(NormInInferenceMode()),
    "written under no_grad": lambda: dense(Written()),
    "own function under no_grad": lambda: dense(OwnFunction()),
    "straight through": lambda: dense(StraightThrough()),
    "convolution under no_grad": lambda: nn.Sequential(
        ConvolutionUnderNoGrad(), nn.Flatten(), nn.Linear(12, DIM)
    ),
    "spectral norm": lambda: dense(nn.utils.parametrizations.spectral_norm(nn.Linear(9, 9))),
    "spectral norm, old": lambda: dense(nn.utils.spectral_norm(nn.Linear(9, 9))),
}


def problem(encoder, seed=0, n=5):
    torch.manual_seed(seed)
    encoder = encoder().double()
    head = nn.Sequential(nn.Linear(DIM, 5), nn.BatchNorm1d(5), nn.Softplus(), nn.Linear(5, 4))
    mask = DimensionalMask(DIM).double()
    nn.init.normal_(mask.w)
    views = tuple(torch.rand(n, 3, 2, 2, dtype=torch.float64) for _ in range(2))
    return encoder, head.double(), mask, views


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


WIDTHS = [12, 9], [9, DIM]


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


class Counts(nn.Module):
    """What nobody can put back: a number that each call changes."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


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


# lookahead


def lookahead(encoder, views=None, **options):
    encoder, head, mask, _ = problem(encoder)
    other = copy.deepcopy(head)
    return LookaheadMetaMask(
        encoder,
        head,
        other,
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        views or (lambda images, generator: (images[:, 0], images[:, 1])),
        redundancy_weight=0.3,
        **options,
    )


def images(seed, n=5):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, 2, 3, 2, 2, dtype=torch.float64, generator=draw)


def one_step(method, optimizer, batch, change=lambda optimizer: None):
    optimizer.zero_grad()
    method.loss(method.model, batch, None).backward()
    method.before_step(optimizer)
    change(optimizer)
    optimizer.step()
    method.after_step(optimizer)


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
