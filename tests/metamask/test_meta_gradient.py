"""The meta-gradient against double backward, brute force and hand-worked cases."""

import copy
import math

import pytest
import several
import torch
from hypothesis import given, settings, strategies as st
from problems import ENCODERS, METHODS, by_double_backward, error, problem
from torch import nn

from mmlite import distributed, projector, small_conv
from mmlite.contrastive import nt_xent
from mmlite.distributed.batch_norm import convert_sync_batchnorm
from mmlite.metamask import DimensionalMask, masked_loss, meta_gradient, virtual_step
from mmlite.redundancy import barlow_twins


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
