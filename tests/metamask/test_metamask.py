"""The mask and its meta-gradient against double backward, brute force and hand-worked cases."""

import contextlib
import copy
import math

import pytest
import several
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmlite import TwoViews, distributed, fit, load, projector, resnet18, small_conv
from mmlite.contrastive import nt_xent
from mmlite.distributed.batch_norm import convert_sync_batchnorm
from mmlite.metamask import (
    DimensionalMask,
    LookaheadMetaMask,
    MetaMask,
    masked_loss,
    meta_gradient,
    virtual_step,
)
from mmlite.metamask.tangents import FusedTangents, KeptConvolutions
from mmlite.metamask.update import step_derivative
from mmlite.redundancy import barlow_twins

METHODS = ("exact", "unrolled", "finite-difference", "first-order")


class Residual(nn.Module):
    """What the fused rules do not know by name: grouped convolution, GroupNorm, GELU, a sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding="same", groups=channels, bias=True)
        self.norm = nn.GroupNorm(2, channels)

    def forward(self, x):
        return x + F.gelu(self.norm(self.conv(x)))


def odd_network(dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Residual(8),
        nn.Dropout2d(0.2),
        nn.BatchNorm2d(8, affine=False),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(8 * 16, dim),
        nn.LayerNorm(dim),
        nn.Tanh(),
    )


ENCODERS = {
    "small_conv": lambda: (small_conv(3, 24), 24),
    "resnet18": lambda: (resnet18(3, 20), 20),
    "odd": lambda: (odd_network(16), 16),
}


def problem(name="small_conv", dtype=torch.float64, n=6, seed=0):
    """Return encoder, head, mask and views."""
    torch.manual_seed(seed)
    encoder, dim = ENCODERS[name]()
    head, mask = projector(dim, 16, 8), DimensionalMask(dim)
    nn.init.normal_(mask.w)
    views = tuple(torch.rand(n, 3, 8, 8, dtype=dtype) for _ in range(2))
    return encoder.to(dtype), head.to(dtype), mask.to(dtype), views


def by_double_backward(encoder, head, mask, views, lr, outer=None, loss=nt_xent):
    """Return the meta-gradient written anew: theta as flat tensors, both passes in one graph."""
    network = nn.ModuleDict({"encoder": encoder, "head": head})
    theta = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    buffers = {n: b.clone() for n, b in network.named_buffers()}
    w = mask.w.detach().clone().requires_grad_()
    state = torch.get_rng_state()

    def value(theta, views):
        torch.set_rng_state(state)
        everything = theta | buffers
        parts = [
            {n.split(".", 1)[1]: t for n, t in everything.items() if n.startswith(part + ".")}
            for part in ("encoder", "head")
        ]
        h = functional_call(encoder, parts[0], (torch.cat(views),)) * torch.sigmoid(w)
        z = functional_call(head, parts[1], (h,))
        return loss(*z.chunk(2))

    gradient = torch.autograd.grad(value(theta, views), list(theta.values()), create_graph=True)
    virtual = {n: p - lr * g for (n, p), g in zip(theta.items(), gradient, strict=True)}
    found = torch.autograd.grad(value(virtual, outer or views), w)[0]
    torch.set_rng_state(state)
    return found


def error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


# the four ways


@pytest.mark.parametrize("lr", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("name", ENCODERS)
# 1e-10 leaves float64 a factor of 1e5 above what was seen; float32 rounds sums of a few thousand
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_exact_and_unrolled_are_the_double_backward(name, lr, dtype, tolerance):
    parts = problem(name, dtype)
    wanted = by_double_backward(*parts, lr)
    for method in ("exact", "unrolled"):
        found = meta_gradient(*parts, lr, method=method)
        assert found.shape == parts[2].w.shape
        assert not found.requires_grad
        assert error(found, wanted) < tolerance


def test_exact_is_the_difference_quotient_of_the_loss_after_the_step():
    encoder, head, mask, views = problem("odd")
    for part in (encoder, head):  # no kinks, or a difference quotient would step over some
        for index, module in enumerate(part):
            if isinstance(module, nn.ReLU):
                part[index] = nn.Softplus()
    found = meta_gradient(encoder, head, mask, views, 0.3)
    step = 1e-5
    state = torch.get_rng_state()
    for dimension in (0, 7):
        values = []
        for sign in (1, -1):
            moved = copy.deepcopy(mask)
            with torch.no_grad():
                moved.w[dimension] += sign * step
            theta = virtual_step(encoder, head, moved, views, 0.3)
            network = copy.deepcopy(nn.ModuleDict({"encoder": encoder, "head": head}))
            network.load_state_dict(theta, strict=False)
            torch.set_rng_state(state)
            value = masked_loss(network["encoder"], network["head"], moved, views)
            values.append(value.item())
            torch.set_rng_state(state)
        # the quotient errs by step² ≈ 1e-10 and by rounding 1e-16 / step ≈ 1e-11
        quotient = (values[0] - values[1]) / (2 * step)
        assert quotient == pytest.approx(float(found[dimension]), rel=1e-5, abs=1e-9)


def test_by_hand():
    """One weight, one dimension, L = (m θ x₁ − m θ x₂)² with m = σ(w): J(w) fits on a line."""
    encoder, head, mask = nn.Linear(1, 1, bias=False), nn.Identity(), DimensionalMask(1)
    encoder, mask = encoder.double(), mask.double()
    nn.init.constant_(encoder.weight, 3.0)
    nn.init.constant_(mask.w, 0.4)
    views = torch.tensor([[5.0]], dtype=torch.float64), torch.tensor([[3.0]], dtype=torch.float64)
    m = 1 / (1 + math.exp(-0.4))
    # L = 4 m² θ², θ′ = θ (1 − 8 η m²), J = 4 m² θ² (1 − 8 η m²)²
    eta, theta = 0.05, 3.0
    shrink = 1 - 8 * eta * m**2
    of_m = 8 * m * theta**2 * shrink**2 + 4 * m**2 * theta**2 * 2 * shrink * (-16 * eta * m)
    wanted = of_m * m * (1 - m)

    def square(z1, z2):
        return (z1 - z2).square().sum()

    for method in ("exact", "unrolled", "finite-difference"):  # ∂L/∂w is a parabola in θ, so the
        # central difference of its slope is exact too
        found = meta_gradient(encoder, head, mask, views, eta, method=method, loss=square)
        assert float(found) == pytest.approx(wanted, rel=1e-9)
    first = meta_gradient(encoder, head, mask, views, eta, method="first-order", loss=square)
    assert float(first) == pytest.approx(8 * m * (theta * shrink) ** 2 * m * (1 - m), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(2, 7),
    dim=st.integers(1, 9),
    width=st.integers(1, 6),
    start=st.floats(-4, 4),
    lr=st.floats(0, 2),
    seed=st.integers(0, 2**16),
)
def test_any_size_and_mask(n, dim, width, start, lr, seed):
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.BatchNorm1d(7), nn.Linear(7, dim))
    head, mask = projector(dim, 5, width), DimensionalMask(dim, start)
    with torch.no_grad():
        mask.w.add_(torch.randn(dim))
    parts = [part.double() for part in (encoder, head, mask)]
    views = tuple(torch.rand(n, 3, 2, 2, dtype=torch.float64) for _ in range(2))
    parts.append(views)
    wanted = by_double_backward(*parts, lr)
    # cancellation of the two terms can leave little: compare with what the largest entry is
    scale = max(float(wanted.abs().max()), 1e-8)
    assert float((meta_gradient(*parts, lr) - wanted).abs().max()) < 1e-8 * scale + 1e-12


def test_finite_difference_is_the_published_scheme():
    """Follow the published code step by step on copies whose weights really change."""
    encoder, head, mask, views = problem()
    lr = 0.05
    original = nn.ModuleDict({"encoder": encoder, "head": head})

    def gradients(network):
        w = mask.w.detach().clone().requires_grad_()
        h = network["encoder"](torch.cat(views)) * torch.sigmoid(w)
        value = nt_xent(*network["head"](h).chunk(2))
        return torch.autograd.grad(value, [w, *network.parameters()])

    def moved(by, length):
        network = copy.deepcopy(original)
        with torch.no_grad():
            for p, direction in zip(network.parameters(), by, strict=True):
                p.add_(direction, alpha=length)
        return network

    _, *gradient = gradients(copy.deepcopy(original))
    direct, *v = gradients(moved(gradient, -lr))
    length = 1e-2 / float(torch.cat([one.flatten() for one in v]).norm())
    ahead, behind = (gradients(moved(v, sign * length))[0] for sign in (1, -1))
    wanted = direct - lr * (ahead - behind) / (2 * length)
    # the step ends on either side of the same kinks: only rounding differs
    assert error(meta_gradient(*problem(), lr, method="finite-difference"), wanted) < 1e-8
    assert error(meta_gradient(*problem(), lr, method="first-order"), direct) < 1e-12


def test_a_short_finite_difference_is_right_and_the_published_one_is_not():
    parts = problem()
    wanted = by_double_backward(*parts, 0.1)
    # step² times the third derivative, and rounding 1e-16 / step
    short = meta_gradient(*parts, 0.1, method="finite-difference", finite_step=1e-7)
    assert error(short, wanted) < 1e-5
    # kinks of a random network's ReLUs lie closer than 0.01: 6 to 130 % over seeds 0 to 3
    assert error(meta_gradient(*parts, 0.1, method="finite-difference"), wanted) > 0.01


def test_outer_views_and_several_heads():
    encoder, _, mask, views = problem(n=5)
    heads = nn.ModuleList([projector(24, 16, 8), projector(24, 12, 6)]).double()

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = heads

        def forward(self, h):
            return tuple(head(h) for head in self.heads)

    class Joined(Both):
        def forward(self, h):
            return torch.cat(super().forward(h), 1)

    def joint(z1, z2):
        return nt_xent(z1[0], z2[0]) + 0.1 * barlow_twins(z1[1], z2[1])

    def joint_of_joined(z1, z2):
        (a1, b1), (a2, b2) = (z.split([8, 6], 1) for z in (z1, z2))
        return joint((a1, b1), (a2, b2))

    outer = tuple(torch.rand(5, 3, 8, 8, dtype=torch.float64) for _ in range(2))
    wanted = by_double_backward(encoder, Joined(), mask, views, 0.2, outer, joint_of_joined)
    for method in ("exact", "unrolled"):
        found = meta_gradient(
            encoder, Both(), mask, views, 0.2, method=method, outer_views=outer, loss=joint
        )
        assert error(found, wanted) < 1e-10


def test_frozen_parameters_and_evaluation_mode_are_respected():
    encoder, head, mask, views = problem("resnet18")
    head.eval()
    for p in encoder[1].conv1.parameters():
        p.requires_grad_(False)
    names = virtual_step(encoder, head, mask, views, 0.1)
    assert not any(name.startswith("encoder.1.conv1") for name in names)
    found = {
        method: meta_gradient(encoder, head, mask, views, 0.1, method=method) for method in METHODS
    }
    assert error(found["exact"], found["unrolled"]) < 1e-10


def test_without_a_step_all_four_are_the_plain_gradient():
    parts = problem()
    wanted = by_double_backward(*parts, 0.0)
    for method in METHODS:
        assert error(meta_gradient(*parts, 0.0, method=method), wanted) < 1e-10


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_autocast_runs_and_loses_little(method):
    parts = problem("small_conv", torch.float32, n=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = meta_gradient(*parts, 0.1, method=method)
        again = meta_gradient(*parts, 0.1, method="unrolled")
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())
    if method == "exact":
        # Where values are rounded to 8 bits is the same for both; tangents differ in their last.
        # (Against float32 both are off by half: a random network's second term is that rough.)
        assert error(found, again) < 0.05


# what must not change


def state_of(*modules, optimizer=None):
    tensors = [t.clone() for m in modules for t in m.state_dict().values()]
    tensors += [p.grad.clone() for m in modules for p in m.parameters() if p.grad is not None]
    if optimizer is not None:
        for values in optimizer.state.values():
            tensors += [v.clone() for v in values.values() if isinstance(v, torch.Tensor)]
    modes = [
        (m.training, getattr(m, "track_running_stats", None)) for p in modules for m in p.modules()
    ]
    return [*tensors, torch.get_rng_state()], modes


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind(name, method):
    encoder, head, mask, views = problem(name, torch.float32)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], 0.1, momentum=0.9)
    masked_loss(encoder, head, mask, views).backward()
    optimizer.step()
    before = state_of(encoder, head, mask, optimizer=optimizer)
    meta_gradient(encoder, head, mask, views, 0.1, method=method, optimizer=optimizer)
    virtual_step(encoder, head, mask, views, 0.1)
    after = state_of(encoder, head, mask, optimizer=optimizer)
    assert before[1] == after[1]
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))


def test_nothing_is_left_behind_when_the_loss_fails():
    encoder, head, mask, views = problem()
    before = state_of(encoder, head, mask)

    def fails(z1, z2):
        torch.rand(3)
        raise RuntimeError("no loss today")

    with pytest.raises(RuntimeError, match="no loss today"):
        meta_gradient(encoder, head, mask, views, 0.1, loss=fails)
    after = state_of(encoder, head, mask)
    assert before[1] == after[1]
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))


# wrong use


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "hopeful"}, "exact, unrolled, finite-difference, first-order"),
        ({"virtual_lr": -0.1}, "at least 0"),
        ({"virtual_lr": math.nan}, "at least 0"),
        ({"finite_step": 0.0}, "finite_step must be a finite number greater than 0"),
        ({"views": (torch.rand(4, 3, 8, 8), torch.rand(5, 3, 8, 8))}, "one shape"),
        ({"views": torch.rand(2, 4, 3, 8, 8)[0]}, "pair"),
        ({"outer_views": (torch.rand(4, 3, 8, 8),)}, "pair"),
        ({"views": None}, "pair .* got None"),
        ({"optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))])}, "does not hold .* encoder"),
        ({"mask": DimensionalMask(7)}, "7 dimensions"),
        ({"optimizer": torch.optim.Adam([nn.Parameter(torch.ones(1))])}, "SGD"),
        ({"encoder": nn.Flatten(), "head": nn.Identity()}, "parameter to train"),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(change, message):
    encoder, head, mask, views = problem(dtype=torch.float32)
    arguments = {"encoder": encoder, "head": head, "mask": mask, "views": views, "virtual_lr": 0.1}
    with pytest.raises(ValueError, match=message):
        meta_gradient(**(arguments | change))


def test_a_shared_parameter_is_refused():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 12))
    views = tuple(torch.rand(4, 3, 2, 2) for _ in range(2))
    with pytest.raises(ValueError, match="share a parameter"):
        meta_gradient(encoder, encoder[1], DimensionalMask(12), views, 0.1)


def test_an_operation_without_forward_mode_is_named():
    class Stubborn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Layer(nn.Module):
        def forward(self, x):
            return Stubborn.apply(x)

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), Layer())
    views = tuple(torch.rand(4, 3, 2, 2) for _ in range(2))
    parts = encoder, projector(6, 5, 4), DimensionalMask(6), views
    with pytest.raises(NotImplementedError, match='method="unrolled" does without'):
        meta_gradient(*parts, 0.1)
    assert meta_gradient(*parts, 0.1, method="unrolled").shape == (6,)


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


# the fused tangents


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 8, 3, padding="same", groups=2, bias=False),
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4).eval(),
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4 * 25)),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)),
    ],
    ids=str,
)
@pytest.mark.parametrize("moves", ["both", "input", "parameters"])
def test_fused_tangents_are_pytorchs_own(layer, moves):
    layer = copy.deepcopy(layer).double()
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 5, dtype=torch.float64)
    theta = {n: torch.randn_like(p) for n, p in layer.named_parameters()}
    if not theta and moves == "parameters":
        moves = "input"

    def run(*, fused):
        torch.manual_seed(1)
        with torch.no_grad(), forward_ad.dual_level():
            dual = {
                n: forward_ad.make_dual(p, torch.randn_like(p)) if moves != "input" else p
                for n, p in theta.items()
            }
            given_x = x.clone()
            if moves != "parameters":
                given_x = forward_ad.make_dual(given_x, torch.randn_like(x))
            buffers = {n: b.clone() for n, b in layer.named_buffers()}
            if fused:
                with FusedTangents():
                    y = functional_call(layer, dual | buffers, (given_x,))
            else:
                y = functional_call(layer, dual | buffers, (given_x,))
            return [t.clone() for t in forward_ad.unpack_dual(y)]

    for found, wanted in zip(run(fused=True), run(fused=False), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


class CountsConvolutions(TorchDispatchMode):
    """Count the convolutions that are really computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


def written_to() -> nn.Module:
    """Return an encoder that overwrites what its convolution returned."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 7, padding=3), nn.ReLU(inplace=True), nn.AvgPool2d(8), nn.Flatten()
    )


@pytest.mark.parametrize(
    ("make", "used"),
    [
        (lambda: small_conv(3, 24), 3),  # its first convolution sums over 27 numbers only
        (lambda: resnet18(3, 20), 18),  # the same, and a 1 × 1 convolution over 64
        (lambda: odd_network(16), 0),
        (written_to, 0),
    ],
    ids=["small_conv", "resnet18", "odd", "written to"],
)
def test_kept_convolutions_change_nothing_and_are_computed_once(make, used):
    torch.manual_seed(0)
    encoder, x = make(), torch.rand(6, 3, 8, 8)
    theta = {n: p.detach() for n, p in encoder.named_parameters()}
    v = {n: torch.randn_like(p) for n, p in theta.items()}

    def run(kept):
        torch.manual_seed(1)
        with torch.no_grad(), forward_ad.dual_level(), FusedTangents(kept):
            dual = {n: forward_ad.make_dual(p, v[n]) for n, p in theta.items()}
            return forward_ad.unpack_dual(functional_call(encoder, dual, (x,)))

    torch.manual_seed(1)
    with KeptConvolutions() as convolutions:
        h = encoder(x)
    kept = convolutions.kept
    h.sum().backward()
    with CountsConvolutions() as plainly:
        wanted = run(None)
    with CountsConvolutions() as sparingly:
        found = run(kept)
    assert plainly.count - sparingly.count == used
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert torch.equal(found[0], h)
    assert kept == []  # so that its memory goes as the pass goes on


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 6, 3, stride=2, padding=1),
        nn.Conv2d(32, 8, 3, padding="same", groups=2, bias=False),
        nn.Conv2d(16, 4, 3, dilation=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
# float32 sums 144 products of size 1, for each of two parts
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("input_moves", [True, False])
def test_tangents_from_kept_convolutions_are_pytorchs_own(
    layer, layout, dtype, tolerance, input_moves
):
    torch.manual_seed(0)
    layer = copy.deepcopy(layer).to(dtype).to(memory_format=layout)
    x = torch.randn(3, layer.in_channels, 7, 7, dtype=dtype).to(memory_format=layout)
    v = {n: torch.randn_like(p) for n, p in layer.named_parameters()}
    dx = torch.randn_like(x)
    with KeptConvolutions() as convolutions:
        layer(x)
    assert convolutions.kept[0] is not None
    found = []
    for mode in (FusedTangents(convolutions.kept), contextlib.nullcontext()):
        with torch.no_grad(), forward_ad.dual_level(), mode:
            theta = {n: forward_ad.make_dual(p, v[n]) for n, p in layer.named_parameters()}
            given_x = forward_ad.make_dual(x, dx) if input_moves else x
            found.append(forward_ad.unpack_dual(functional_call(layer, theta, (given_x,))))
    for one, own in zip(*found, strict=True):
        assert torch.allclose(one, own, rtol=tolerance, atol=tolerance)
        assert one.stride() == own.stride()


def test_convolutions_kept_in_another_precision_are_computed_anew():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(16, 4, 3), torch.rand(2, 16, 5, 5)
    with KeptConvolutions() as convolutions, torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    assert convolutions.kept[0].y.dtype == torch.bfloat16
    theta = {n: p.detach() for n, p in layer.named_parameters()}
    with torch.no_grad(), forward_ad.dual_level(), FusedTangents(convolutions.kept):
        dual = {n: forward_ad.make_dual(p, torch.ones_like(p)) for n, p in theta.items()}
        y, _ = forward_ad.unpack_dual(functional_call(layer, dual, (x,)))
    assert torch.equal(y, layer(x))


def test_nothing_is_kept_of_frozen_convolutions():
    layer = nn.Conv2d(16, 4, 3).requires_grad_(False)
    with KeptConvolutions() as convolutions:
        layer(torch.rand(2, 16, 5, 5))
    assert convolutions.kept == [None]


# the virtual step that copies an optimizer


def test_a_virtual_step_with_an_optimizer_is_that_optimizers_step():
    encoder, head, mask, views = problem()
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(2):  # the first step fills the buffers
        theta = virtual_step(encoder, head, mask, views, 0.1, optimizer=optimizer)
        optimizer.zero_grad()
        masked_loss(encoder, head, mask, views).backward()
        optimizer.step()
        network = nn.ModuleDict({"encoder": encoder, "head": head})
        for name, p in network.named_parameters():
            assert torch.allclose(theta[name], p, rtol=1e-12, atol=1e-14)
    found = {
        method: meta_gradient(encoder, head, mask, views, 0.1, method=method, optimizer=optimizer)
        for method in ("exact", "unrolled")
    }
    assert error(found["exact"], found["unrolled"]) < 1e-10


# the training steps


def plain_images(n=48):
    return load("fashion", "train", size=n)


def test_metamask_trains_and_its_meta_step_is_meta_gradient():
    torch.manual_seed(0)
    encoder, mask = small_conv(1, 8), DimensionalMask(8)
    method = MetaMask(
        encoder,
        projector(8, 8, 4),
        projector(8, 8, 4),
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        TwoViews(crop=(0.4, 1.0)),
        every=2,
    )
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
    encoder, mask = small_conv(1, 8), DimensionalMask(8)
    calls = []

    def outer(images, generator):
        calls.append(len(images))
        return images.float() / 255, images.float() / 255

    method = MetaMask(
        encoder,
        projector(8, 8, 4),
        projector(8, 8, 4),
        mask,
        torch.optim.SGD(mask.parameters(), 0.1),
        TwoViews(),
        virtual_lr=None,
        outer_views=outer,
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
    assert float(mask.w.detach().abs().max()) > 0


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
    mask = DimensionalMask(8)
    parts = small_conv(1, 8), projector(8, 8, 4), projector(8, 8, 4), mask
    with pytest.raises(ValueError, match=message):
        MetaMask(*parts, torch.optim.SGD(mask.parameters(), 1.0), TwoViews(), **change)
    with pytest.raises(TypeError, match="virtual_lr"):  # its virtual step is the training step
        LookaheadMetaMask(
            *parts, torch.optim.SGD(mask.parameters(), 1.0), TwoViews(), virtual_lr=0.1
        )


@pytest.mark.parametrize("dim", [1, 4])
def test_a_mask_of_another_width_is_told_in_the_first_step(dim):
    mask = DimensionalMask(dim)
    parts = small_conv(1, 8), projector(8, 8, 4), projector(8, 8, 4), mask
    method = MetaMask(*parts, torch.optim.SGD(mask.parameters(), 1.0), TwoViews())
    with pytest.raises(ValueError, match=f"the mask has {dim} dimensions"):
        method.loss(method.model, plain_images().images, torch.Generator())


def test_operations_called_by_keyword_have_tangents():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 3, 2, 2))
            self.norm = nn.BatchNorm2d(6)

        def forward(self, x):
            y = F.conv2d(input=x, weight=self.weight)
            scale = {"weight": self.norm.weight, "bias": self.norm.bias}
            y = F.batch_norm(input=y, running_mean=None, running_var=None, training=True, **scale)
            return F.relu(input=y, inplace=True).flatten(1)

    torch.manual_seed(0)
    encoder, head, mask = Named(), projector(6, 5, 4), DimensionalMask(6)
    for part in (encoder, head, mask):
        part.double()
    parts = encoder, head, mask, tuple(torch.rand(4, 3, 2, 2).double() for _ in range(2))
    exact, unrolled = (meta_gradient(*parts, 0.1, method=way) for way in ("exact", "unrolled"))
    torch.testing.assert_close(exact, unrolled, rtol=1e-10, atol=1e-12)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "Nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, eps=1e-3),
    "fused AdamW": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, eps=1e-3, fused=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_derivative_of_a_step_is_its_difference_quotient(name):
    torch.manual_seed(0)
    start = torch.randn(5, dtype=torch.float64)
    history = [torch.randn(5, dtype=torch.float64) for _ in range(4)]

    def last_step(change):
        p = nn.Parameter(start.clone())
        optimizer = OPTIMIZERS[name]([p])
        for index, gradient in enumerate(history):
            before = p.detach().clone()
            p.grad = gradient + (change if index == len(history) - 1 else 0)
            optimizer.step()
        return p, before, optimizer

    p, before, optimizer = last_step(0.0)
    found = step_derivative(optimizer, p, before, history[-1])
    quotient = (last_step(1e-6)[0] - last_step(-1e-6)[0]).detach() / 2e-6
    # the quotient errs by 1e-12 and, by rounding, 1e-16 / 1e-6
    assert torch.allclose(found, quotient, rtol=1e-6, atol=1e-9)


def test_the_derivative_where_no_gradient_has_ever_been():
    p = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([p], 0.01, eps=1e-3)
    p.grad = torch.tensor([0.0, 1.0])
    before = p.detach().clone()
    optimizer.step()
    # by hand: the step is −lr g / (|g| + eps), its derivative −lr eps / (|g| + eps)²
    wanted = torch.tensor([-0.01 / 1e-3, -0.01 * 1e-3 / 1.001**2])
    # 1e-3 is what is left of a difference of two numbers near 1 in float32
    assert torch.allclose(step_derivative(optimizer, p, before, p.grad), wanted, rtol=1e-3)


def test_an_optimizer_without_a_known_derivative_is_refused():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    for optimizer in (torch.optim.RMSprop([p]), torch.optim.Adam([p], amsgrad=True)):
        optimizer.step()
        with pytest.raises(ValueError, match="SGD, Adam and AdamW"):
            step_derivative(optimizer, p, p.detach(), p.grad)


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
        optimizer.zero_grad()
        method.loss(method.model, images, None).backward()
        method.before_step(optimizer)
        optimizer.step()
        method.after_step(optimizer)
    assert error(-mask.w.detach(), wanted) < 1e-10


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_lookahead_passes_over_a_parameter_that_is_not_used(kind):
    torch.manual_seed(0)
    encoder, mask = small_conv(1, 8), DimensionalMask(8)
    encoder.register_parameter("spare", nn.Parameter(torch.ones(3)))
    method = LookaheadMetaMask(
        encoder,
        projector(8, 8, 4),
        projector(8, 8, 4),
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        lambda images, generator: (images, images),
    )
    optimizer = kind(method.model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        method.loss(method.model, torch.rand(4, 1, 8, 8), None).backward()
        method.before_step(optimizer)
        optimizer.step()
        method.after_step(optimizer)
    assert bool(mask.w.isfinite().all())
    assert float(mask.w.detach().abs().max()) > 0


def test_lookahead_leaves_frozen_parameters_out():
    torch.manual_seed(0)
    encoder, mask = small_conv(1, 8), DimensionalMask(8)
    encoder[1].weight.requires_grad_(False)
    method = LookaheadMetaMask(
        encoder,
        projector(8, 8, 4),
        projector(8, 8, 4),
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        TwoViews(),
    )
    before = encoder[1].weight.clone()
    hooks = {"before_step": method.before_step, "after_step": method.after_step}
    fit(method.model, method.loss, plain_images(), epochs=1, batch_size=16, **hooks)
    assert torch.equal(encoder[1].weight, before)
    assert float(mask.w.detach().abs().max()) > 0


def test_lookahead_repeats_the_draws_of_dropout():
    torch.manual_seed(0)
    encoder, mask = odd_network(8), DimensionalMask(8)
    method = LookaheadMetaMask(
        encoder,
        projector(8, 8, 4),
        projector(8, 8, 4),
        mask,
        torch.optim.SGD(mask.parameters(), 1.0),
        lambda images, generator: (images, images),
    )
    optimizer = torch.optim.SGD(method.model.parameters(), 0.1)
    x = torch.rand(4, 3, 8, 8)
    seen = []
    encoder[4].register_forward_hook(lambda module, inputs, out: seen.append(out.detach() == 0))
    for _ in range(2):
        optimizer.zero_grad()
        method.loss(method.model, x, None).backward()
        method.before_step(optimizer)
        optimizer.step()
        method.after_step(optimizer)
    first, second, again = seen
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


# GPUs


@pytest.mark.gpu
@pytest.mark.parametrize("name", ENCODERS)
def test_on_a_gpu(name):
    encoder, head, mask, views = problem(name)
    parts = [part.cuda() for part in (encoder, head, mask)]
    views = tuple(x.cuda() for x in views)
    before = torch.cuda.get_rng_state()
    found = {method: meta_gradient(*parts, views, 0.1, method=method) for method in METHODS}
    assert error(found["exact"], found["unrolled"]) < 1e-9
    assert torch.equal(before, torch.cuda.get_rng_state())
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert bool(meta_gradient(*parts, views, 0.1).isfinite().all())


# several processes


def of_shares(rank: int, sizes: list[int]) -> dict:
    """Return each method's meta-gradient, in float64, of what this process holds of a batch."""
    torch.manual_seed(2)
    encoder, head = small_conv(3, 6).double(), projector(6, 8, 4).double()
    mask = DimensionalMask(6).double()
    mask.w.data.normal_()
    for module in (encoder, head):
        convert_sync_batchnorm(module)
    views, outer = (tuple(torch.rand(2, sum(sizes), 3, 8, 8).double()) for _ in range(2))
    views, outer = (tuple(several.own(x, rank, sizes) for x in pair) for pair in (views, outer))
    before = copy.deepcopy(encoder.state_dict())
    found = {}
    for method in METHODS:
        with distributed.sharded_batch(sizes):
            found[method] = meta_gradient(
                encoder, head, mask, views, 0.5, method=method, outer_views=outer
            )
    after = encoder.state_dict()
    found["left alone"] = all(torch.equal(before[name], after[name]) for name in before)
    return found


def test_shares_of_a_batch_have_the_meta_gradient_of_the_whole(tmp_path):
    found = several.run_in([3, 2], of_shares, tmp_path)
    whole = of_shares(0, [5])
    for one in found:
        assert one["left alone"]
        for method in METHODS:
            # the finite difference divides rounding by its step
            rtol = 1e-6 if method == "finite-difference" else 1e-9
            assert torch.allclose(one[method], whole[method], rtol=rtol, atol=rtol * 1e-3), method
