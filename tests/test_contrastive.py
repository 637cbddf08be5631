"""NT-Xent against brute force, a case by hand, its properties and lightly."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from samples import GOOD, projections
from torch.nn import functional as F

from mmlite.contrastive import nt_xent


def brute_force(z1, z2, temperature):
    """Evaluate equation 1 of SimCLR by loops over Python floats."""
    rows = [[float(v) for v in row] for row in torch.cat([z1, z2]).double()]
    n = len(z1)

    def similarity(a, b):
        length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / length

    total = 0.0
    for i in range(2 * n):
        logits = [similarity(rows[i], rows[j]) / temperature for j in range(2 * n) if j != i]
        top = max(logits)
        log_sum = top + math.log(sum(math.exp(v - top) for v in logits))
        total += log_sum - similarity(rows[i], rows[(i + n) % (2 * n)]) / temperature
    return total / (2 * n)


TEMPERATURES = st.floats(0.01, 5.0)


@settings(max_examples=60, deadline=None)
@given(z=projections(), temperature=TEMPERATURES)
def test_nt_xent_is_its_definition(z, temperature):
    # 1e-9: float64 sums of at most 12 terms, times similarities up to 100
    assert nt_xent(*z, temperature).item() == pytest.approx(
        brute_force(*z, temperature), rel=1e-9, abs=1e-9
    )


def test_two_cases_by_hand():
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert nt_xent(z, z, 1.0).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-12)
    ones = torch.ones(5, 3, dtype=torch.float64)
    assert nt_xent(ones, ones, 0.3).item() == pytest.approx(math.log(9), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(z=projections(), temperature=TEMPERATURES, data=st.data())
def test_nt_xent_does_not_see_order_length_or_which_view_came_first(z, temperature, data):
    z1, z2 = z
    loss = nt_xent(z1, z2, temperature)
    assert torch.allclose(nt_xent(z2, z1, temperature), loss, rtol=1e-10)
    order = data.draw(st.permutations(range(len(z1))))
    assert torch.allclose(nt_xent(z1[order], z2[order], temperature), loss, rtol=1e-10)
    scale = torch.tensor(
        data.draw(st.lists(st.floats(1e-3, 1e20), min_size=len(z1), max_size=len(z1)))
    )
    assert torch.allclose(nt_xent(z1 * scale[:, None], z2, temperature), loss, rtol=1e-9)


@pytest.mark.parametrize("length", [2e-7, 1e-6, 1e-3, 1e30])
def test_short_and_long_vectors_have_their_cosines(length):
    z1, z2 = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    u1 = F.normalize(z1.double(), dim=1)
    expected = nt_xent(u1, z2.double(), 0.1)
    found = nt_xent((u1 * length).float(), z2, 0.1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)  # float32, at 1 / τ = 10


@settings(max_examples=60, deadline=None)
@given(z=projections(), temperature=TEMPERATURES)
def test_nt_xent_stays_above_its_lower_bounds(z, temperature):
    n = len(z[0])
    loss = nt_xent(*z, temperature).item()
    # similarities lie in −1..1
    assert loss >= math.log1p((2 * n - 2) * math.exp(-2 / temperature)) - 1e-9


def simplex(n: int) -> torch.Tensor:
    """Return n unit vectors that are as far apart as they can be: cosine −1 / (n − 1)."""
    centered = torch.eye(n, dtype=torch.float64) - 1 / n
    return centered / centered.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_minimum_is_the_simplex(n):
    # Partners agree and the images form a simplex (Lu & Steinerberger 2022).
    temperature = 0.5
    least = math.log1p((2 * n - 2) * math.exp(-n / (n - 1) / temperature))
    z = simplex(n)
    assert nt_xent(z, z, temperature).item() == pytest.approx(least, rel=1e-9)
    nudged = z + 0.1 * torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    assert nt_xent(nudged, nudged, temperature).item() > least


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("shape", [(2, 1), (7, 3), (256, 64)])
def test_nt_xent_and_its_gradient_are_lightlys(shape, temperature):
    from lightly.loss import NTXentLoss

    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(*shape, generator=generator) for _ in range(2)]
    ours = [v.clone().requires_grad_() for v in values]
    theirs = [v.clone().requires_grad_() for v in values]
    loss, peer = nt_xent(*ours, temperature), NTXentLoss(temperature)(*theirs)
    loss.backward()
    peer.backward()
    assert torch.allclose(loss, peer, rtol=1e-5, atol=1e-6)  # float32
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(z=projections())
def test_first_and_second_derivatives_in_both_modes(z):
    z1, z2 = (v.requires_grad_() for v in z)
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, 0.5), (z1, z2), check_forward_ad=True
    )
    assert torch.autograd.gradgradcheck(
        lambda a, b: nt_xent(a, b, 0.5), (z1, z2), check_fwd_over_rev=True
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_half_precision_loses_only_what_its_input_lost(dtype, scale):
    generator = torch.Generator().manual_seed(2)
    z1, z2 = ((scale * torch.randn(16, 8, generator=generator)).to(dtype) for _ in range(2))
    loss = nt_xent(z1, z2, 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(brute_force(z1, z2, 0.05), rel=1e-5)


def test_autocast_does_not_touch_the_loss():
    z1, z2 = torch.randn(8, 4), torch.randn(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nt_xent(z1, z2, 0.01), nt_xent(z1, z2, 0.01))
        inside = nt_xent(z1, z2, 0.01)
    assert torch.equal(inside, nt_xent(z1, z2, 0.01))


@pytest.mark.parametrize("temperature", [1e-2, 1e-4, 1e-8])
def test_tiny_temperatures_neither_overflow_nor_stop_the_gradient(temperature):
    z1 = torch.randn(32, 8, generator=torch.Generator().manual_seed(3)).requires_grad_()
    z2 = torch.randn(32, 8, generator=torch.Generator().manual_seed(4))
    loss = nt_xent(z1, z2, temperature)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(z1.grad.isfinite().all())
    # As τ → 0, τ · loss is how far the best other view lies above the partner; log 64 < 5
    # bounds what the softmax adds, 1e-6 what float32 rounds.
    u = torch.nn.functional.normalize(torch.cat([z1.detach(), z2]), dim=1)
    similarity = (u @ u.T).fill_diagonal_(-2)
    partner = torch.arange(64).roll(32)
    gap = similarity.amax(1) - similarity[torch.arange(64), partner]
    assert temperature * loss.item() == pytest.approx(gap.mean().item(), abs=temperature * 5 + 1e-6)


def test_a_large_batch():
    z = torch.randn(2048, 16, generator=torch.Generator().manual_seed(5))
    order = torch.randperm(2048, generator=torch.Generator().manual_seed(6))
    # partners agree, so each loss is log Σ exp(s / τ) − 1 / τ over the others
    u = torch.nn.functional.normalize(z.double(), dim=1)
    similarity = torch.cat([u @ u.T] * 2, 1) / 0.2
    similarity.fill_diagonal_(-torch.inf)
    expected = similarity.logsumexp(1).mean() - 5
    assert nt_xent(z[order], z[order]).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_gradient_of_a_nearly_zero_row_is_bounded_where_values_are_not_checked():
    z1 = torch.randn(4, 3, requires_grad=True)
    z2 = torch.randn(4, 3)
    mask = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    loss = torch.compile(nt_xent, backend="eager", fullgraph=True)(z1 * mask, z2)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(z1.grad.isfinite().all())


def test_functional_transforms_agree_with_autograd():
    z1 = torch.randn(3, 6, 4, dtype=torch.float64)
    z2 = torch.randn(3, 6, 4, dtype=torch.float64)
    batched = torch.func.vmap(torch.func.grad(nt_xent))(z1, z2)
    for a, b, got in zip(z1, z2, batched, strict=True):
        a = a.clone().requires_grad_()
        nt_xent(a, b).backward()
        assert torch.allclose(got, a.grad, rtol=1e-10)
    tangent = torch.randn_like(z1[0])
    _, directional = torch.func.jvp(lambda z: nt_xent(z, z2[0]), (z1[0],), (tangent,))
    assert torch.allclose(directional, (batched[0] * tangent).sum(), rtol=1e-10)


def test_nt_xent_compiles_without_a_graph_break():
    z1, z2 = torch.randn(8, 4), torch.randn(8, 4)
    compiled = torch.compile(nt_xent, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(z1, z2), nt_xent(z1, z2), rtol=1e-6)


@pytest.mark.gpu
def test_nt_xent_on_a_gpu_agrees_and_does_not_make_it_wait():
    z1, z2 = torch.randn(64, 16), torch.randn(64, 16)
    on_gpu = z1.cuda(), z2.cuda()
    nt_xent(*on_gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = nt_xent(*on_gpu)
        bad = nt_xent(on_gpu[0] * torch.nan, on_gpu[1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert got.item() == pytest.approx(nt_xent(z1, z2).item(), rel=1e-3)  # TF32 may be on
    assert not math.isfinite(bad.item())


@pytest.mark.parametrize(
    ("z1", "z2", "message"),
    [
        (GOOD, GOOD[:2], r"one shape \[N, P\], got \[3, 2\] and \[2, 2\]"),
        (GOOD[0], GOOD[0], r"one shape \[N, P\], got \[2\] and \[2\]"),
        (GOOD[None], GOOD[None], r"one shape \[N, P\]"),
        (GOOD[:, :0], GOOD[:, :0], r"one shape \[N, P\]"),
        (GOOD[:1], GOOD[:1], "at least 2 images to compare, got N = 1"),
        (GOOD.long(), GOOD, "floating-point tensors, but z1 is torch.int64"),
        (GOOD, [[1.0]], "floating-point tensors, but z2 is list"),
        (GOOD, GOOD.to("meta"), "z1 on cpu and z2 on meta"),
        (GOOD * torch.tensor([[1.0], [0.0], [1.0]]), GOOD, "row 1 of z1 is a zero vector"),
        (GOOD, GOOD * torch.tensor([[1.0], [1.0], [torch.nan]]), "row 2 of z2 holds NaN"),
        (GOOD, GOOD * torch.tensor([[torch.inf], [1.0], [1.0]]), "row 0 of z2 holds NaN or an inf"),
    ],
)
def test_wrong_projections_are_refused_in_a_sentence(z1, z2, message):
    with pytest.raises(ValueError, match=message):
        nt_xent(z1, z2)


@pytest.mark.parametrize("temperature", [0, -0.5, math.nan, math.inf, 1e-40, "0.2", None])
def test_wrong_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number of at least 1e-30"):
        nt_xent(GOOD, GOOD, temperature)
