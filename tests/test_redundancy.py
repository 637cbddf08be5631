"""Barlow Twins against brute force, cases by hand, its properties and lightly; ranks of spectra."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.autograd import forward_ad

from mmlite.redundancy import barlow_twins, cross_correlation, effective_rank, rankme, redundancy


def correlation(x, y):
    """Evaluate Pearson's correlation of two lists by Python floats."""
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    dx, dy = [v - mx for v in x], [v - my for v in y]
    length = math.sqrt(math.fsum(v * v for v in dx) * math.fsum(v * v for v in dy))
    return math.fsum(a * b for a, b in zip(dx, dy, strict=True)) / length


def brute_force(z1, z2):
    """Evaluate equation 2 of Barlow Twins by loops."""
    columns1, columns2 = z1.double().T.tolist(), z2.double().T.tolist()
    rows = [[correlation(a, b) for b in columns2] for a in columns1]
    return torch.tensor(rows, dtype=torch.float64)


def loss_of(c, off_diagonal):
    """Evaluate equation 1 of Barlow Twins by loops."""
    terms = [
        (1 - float(c[i, j])) ** 2 if i == j else off_diagonal * float(c[i, j]) ** 2
        for i in range(len(c))
        for j in range(len(c))
    ]
    return math.fsum(terms)


@st.composite
def projections(draw):
    n, p = draw(st.integers(2, 7)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return [torch.randn(n, p, generator=generator, dtype=torch.float64) for _ in range(2)]


@settings(max_examples=60, deadline=None)
@given(z=projections(), off_diagonal=st.floats(0, 2))
def test_both_are_their_definitions(z, off_diagonal):
    c = brute_force(*z)
    # 1e-9: two float64 values drawn close together lose digits when they are centered
    assert torch.allclose(cross_correlation(*z), c, rtol=0, atol=1e-9)
    assert barlow_twins(*z, off_diagonal).item() == pytest.approx(
        loss_of(c, off_diagonal), rel=1e-8, abs=1e-8
    )


def test_a_case_by_hand():
    z1 = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    z2 = torch.tensor([[3.0, 3.0], [1.0, 1.0], [2.0, 2.0], [2.0, 2.0]])
    # column 1 of z1 is (1, −1, 0, 0), both columns of z2 are that plus 2; column 2 is orthogonal
    expected = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert torch.allclose(cross_correlation(z1, z2), expected, atol=1e-6)
    # (1 − 1)² + (1 − 0)² on the diagonal, 0.1 · (1² + 0²) off it
    assert barlow_twins(z1, z2, 0.1).item() == pytest.approx(1.1, rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 1), (64, 16), (16, 64), (32, 32), (33, 32)])
@pytest.mark.parametrize("off_diagonal", [5e-3, 1.0])
def test_the_loss_and_its_gradient_are_lightlys(shape, off_diagonal):
    from lightly.loss import BarlowTwinsLoss

    generator = torch.Generator().manual_seed(0)
    z1 = 3 * torch.randn(*shape, generator=generator)
    z2 = z1 + torch.randn(*shape, generator=generator)
    ours = [v.clone().requires_grad_() for v in (z1, z2)]
    theirs = [v.clone().requires_grad_() for v in (z1, z2)]
    loss, peer = barlow_twins(*ours, off_diagonal), BarlowTwinsLoss(off_diagonal)(*theirs)
    loss.backward()
    peer.backward()
    # lightly adds 1e-5 to every variance (about 9 here); float32 besides
    assert loss.item() == pytest.approx(peer.item(), rel=1e-3, abs=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-2, atol=1e-4 * float(b.grad.abs().max()))


@settings(max_examples=40, deadline=None)
@given(z=projections(), data=st.data())
def test_what_neither_sees_and_what_transposes(z, data):
    z1, z2 = z
    order = data.draw(st.permutations(range(len(z1))))
    moved = z1[order] * 1e20 + 1e18, z2[order]
    c = cross_correlation(z1, z2)
    # 1e-5: the shift by 1e18 costs a few of float64's digits, more where images lie close
    assert torch.allclose(cross_correlation(*moved), c, atol=1e-5)
    assert torch.allclose(cross_correlation(z2, z1), c.T, atol=1e-12)
    assert float(c.abs().max()) <= 1 + 1e-12
    assert torch.allclose(barlow_twins(z1, z2), barlow_twins(z2, z1), rtol=1e-9, atol=1e-12)
    assert barlow_twins(z1, z2).item() >= 0


@pytest.mark.parametrize("shape", [(9, 3), (3, 9)])
def test_the_sum_over_images_is_the_sum_over_dimensions(shape):
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    c = cross_correlation(z1, z2)
    assert barlow_twins(z1, z2, 0.3).item() == pytest.approx(loss_of(c, 0.3), rel=1e-12)


def test_derivatives_in_both_modes():
    generator = torch.Generator().manual_seed(0)
    for shape in ((5, 3), (3, 5)):
        z1, z2 = (
            torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
            for _ in range(2)
        )
        assert torch.autograd.gradcheck(barlow_twins, (z1, z2), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(barlow_twins, (z1, z2))


def test_every_way_to_a_derivative_gives_the_same():
    generator = torch.Generator().manual_seed(0)
    z1, z2, along = (torch.randn(9, 4, generator=generator).double() for _ in range(3))

    def loss(z):
        return barlow_twins(z, z2, 0.3)

    def slope_at(z):
        z = z.clone().requires_grad_()
        return torch.autograd.grad(loss(z), z)[0]

    slope = slope_at(z1)
    bend = (slope_at(z1 + 1e-5 * along) - slope_at(z1 - 1e-5 * along)) / 2e-5
    close = functools.partial(torch.testing.assert_close, rtol=1e-6, atol=1e-8)  # of a quotient
    close(torch.func.grad(loss)(z1), slope)
    close(torch.func.jvp(loss, (z1,), (along,))[1], (slope * along).sum())
    close(torch.func.jvp(torch.func.grad(loss), (z1,), (along,))[1], bend)  # forward over reverse
    reverse = torch.func.grad(lambda z: torch.func.jvp(loss, (z,), (along,))[1])(z1)
    close(reverse, bend)
    z = z1.clone().requires_grad_()
    (kept,) = torch.autograd.grad(loss(z), z, create_graph=True)
    close(torch.autograd.grad((kept * along).sum(), z)[0], bend)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(z, along)
        tangent = forward_ad.unpack_dual(loss(dual)).tangent
        close(torch.autograd.grad(tangent, z)[0], bend)
    value = loss(z)
    many = torch.autograd.grad(value, z, torch.tensor([1.0, 2.0]).double(), is_grads_batched=True)
    close(many[0], torch.stack([slope, 2 * slope]))


def test_constant_dimensions_correlate_with_nothing_and_move_nothing():
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(50, 3, generator=generator) for _ in range(2))
    z1[:, 1] = 1e4 / 3  # its mean over the batch is not exactly itself
    z1.requires_grad_()
    c = cross_correlation(z1, z2)
    assert c[1].tolist() == [0, 0, 0]
    barlow_twins(z1, z2).backward()
    assert z1.grad[:, 1].tolist() == [0] * 50
    assert bool(z1.grad.isfinite().all())
    assert float(z1.grad[:, 0].abs().max()) > 0
    zeros = torch.zeros(4, 2)
    assert barlow_twins(zeros, zeros).item() == 2  # (1 − 0)² for each dimension


def test_two_images_correlate_perfectly():
    z1, z2 = torch.tensor([[0.0, 3.0], [1.0, 1.0]]), torch.tensor([[5.0, 5.0], [9.0, 8.0]])
    expected = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    assert torch.allclose(cross_correlation(z1, z2), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_half_precision_is_computed_in_float32(dtype, scale):
    generator = torch.Generator().manual_seed(0)
    z1, z2 = ((scale * torch.randn(64, 8, generator=generator)).to(dtype) for _ in range(2))
    loss = barlow_twins(z1, z2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(barlow_twins(z1.double(), z2.double()).item(), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = barlow_twins(z1.float(), z2.float())
    assert under.item() == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("z1", "z2", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 4), "one shape"),
        (torch.zeros(1, 2), torch.zeros(1, 2), "at least 2 images"),
        (torch.zeros(3), torch.zeros(3), "one shape"),
        (torch.zeros(3, 2, dtype=torch.long), torch.zeros(3, 2), "floating-point"),
        ([[1.0]], torch.zeros(3, 2), "z1 is list"),
        (torch.tensor([[0.0], [torch.nan]]), torch.zeros(2, 1), "row 1 of z1 holds NaN"),
        (torch.zeros(2, 1), torch.tensor([[torch.inf], [0.0]]), "row 0 of z2 holds NaN"),
    ],
)
@pytest.mark.parametrize("function", [cross_correlation, barlow_twins])
def test_bad_input_is_told_in_a_sentence(function, z1, z2, message):
    with pytest.raises(ValueError, match=message):
        function(z1, z2)


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf])
def test_a_bad_weight_is_told(weight):
    with pytest.raises(ValueError, match="off_diagonal"):
        barlow_twins(torch.rand(3, 2), torch.rand(3, 2), weight)


def test_it_compiles_whole_and_works_under_vmap():
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(4, 6, 3, generator=generator) for _ in range(2))
    each = torch.stack([barlow_twins(a, b) for a, b in zip(z1, z2, strict=True)])
    assert torch.allclose(torch.func.vmap(barlow_twins)(z1, z2), each, rtol=1e-5)
    compiled = torch.compile(barlow_twins, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(z1[0], z2[0]), each[0], rtol=1e-5)


# redundancy and ranks


def test_redundancy_of_copies_of_noise_and_of_nothing():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5000, 1, generator=generator)
    assert redundancy(torch.cat([x, -2 * x, 3 * x + 1], 1)) == pytest.approx(1, rel=1e-5)
    noise = torch.randn(5000, 20, generator=generator)
    # 1 / (N − 1) = 2e-4 for independent dimensions; its deviation over 190 pairs is a tenth of it
    assert redundancy(noise) == pytest.approx(2e-4, rel=0.5)
    assert redundancy(torch.ones(5, 4)) == 0
    # dimensions that never vary take no part
    padded = torch.cat([x, x, torch.full((5000, 7), 3.3)], 1)
    assert redundancy(padded) == pytest.approx(1, rel=1e-5)


def test_redundancy_is_numpys_correlation():
    import numpy as np

    h = torch.rand(40, 6, generator=torch.Generator().manual_seed(0)).pow(3)
    c = np.corrcoef(h.double().numpy().T)
    assert redundancy(h) == pytest.approx((c**2).sum() / 30 - 6 / 30, rel=1e-4)


@pytest.mark.parametrize("function", [effective_rank, rankme])
def test_ranks_of_known_spectra(function):
    q, _ = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64))
    assert function(q) == pytest.approx(4, rel=1e-4)
    assert function(q[:, :1] @ torch.ones(1, 4, dtype=torch.float64)) == pytest.approx(1, abs=1e-4)
    # σ = (3, 1): exp(−3/4 log 3/4 − 1/4 log 1/4)
    two = q[:, :2] * torch.tensor([3.0, 1.0])
    by_hand = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert function(two) == pytest.approx(by_hand, rel=1e-5)
    assert function(17 * two) == pytest.approx(by_hand, rel=1e-5)
    assert function(torch.zeros(3, 2)) == 0


def test_rankme_is_its_equation_and_centring_is_left_to_choice():
    h = torch.rand(30, 5, dtype=torch.float64)
    values = torch.linalg.eigvalsh(h.T @ h).clamp(min=0).sqrt()
    p = (values / values.sum() + 1e-2).tolist()
    assert rankme(h, 1e-2) == pytest.approx(math.exp(-sum(v * math.log(v) for v in p)), rel=1e-9)
    shifted = h + 100
    assert effective_rank(shifted) < 1.1
    assert effective_rank(shifted, center=True) == pytest.approx(effective_rank(h, center=True))


@pytest.mark.parametrize("function", [effective_rank, rankme, redundancy])
def test_ranks_refuse_what_is_no_matrix(function):
    for bad in (torch.zeros(3), torch.tensor([[1.0], [torch.nan]]), "h"):
        with pytest.raises(ValueError, match=r"must be|hold|takes"):
            function(bad)
    with pytest.raises(ValueError, match="epsilon"):
        rankme(torch.rand(3, 2), -1)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    decay=st.floats(0, 12),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    seed=st.integers(0, 100),
)
def test_ranks_are_numpys_singular_values(shape, decay, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(*shape, generator=generator)
    h = h * torch.exp(-decay * torch.linspace(0, 1, shape[1])) * scale
    values = np.linalg.svd(h.double().numpy(), compute_uv=False)
    p = values[values > 0] / values.sum()
    wanted = math.exp(-(p * np.log(p)).sum())
    # values below 2e-8 √90 of the largest count as 0: 90 of them hold 90 p log(1/p) < 4e-4
    assert effective_rank(h) == pytest.approx(wanted, rel=4e-4)
    assert effective_rank(h.double()) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("rows", [3, 7, 49, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_collapsed_representation_has_no_rank_once_it_is_centered(rows, dtype):
    h = torch.rand(1, 5, dtype=dtype, generator=torch.Generator().manual_seed(rows))
    assert effective_rank(h.repeat(rows, 1), center=True) == 0


def test_ranks_do_not_overflow_and_types_may_differ():
    assert effective_rank(torch.full((3, 3), 1e308, dtype=torch.float64)) == pytest.approx(1)
    with pytest.raises(ValueError, match="epsilon must be a finite number"):
        rankme(torch.rand(3, 3), epsilon=math.inf)
    z1, z2 = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    for loss in (cross_correlation, barlow_twins):
        mixed = loss(z1.double(), z2)
        assert mixed.dtype == torch.float64
        # float32 at float32's precision
        torch.testing.assert_close(mixed.float(), loss(z1, z2), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("low", [1e-30, 1e-8, 0.019, 0.021, 1.0])
@pytest.mark.parametrize("high", [1.0, 0.99e4, 1.01e4, 1e14, 1e30])
def test_columns_of_any_scale_correlate_as_in_float64(low, high):
    generator = torch.Generator().manual_seed(0)
    z1 = torch.randn(40, 3, generator=generator)
    z2 = z1 + torch.randn(40, 3, generator=generator)
    scales = torch.tensor([low, 1.0, high])
    z1, z2 = ((z / z.abs().amax(0) * scales).requires_grad_() for z in (z1, z2))
    loss = barlow_twins(z1, z2, off_diagonal=0.5)
    a, b = ((z.detach().double() / scales.double()).requires_grad_() for z in (z1, z2))
    correlation = torch.corrcoef(torch.cat([a, b], 1).T)[:3, 3:]
    own = correlation.diagonal()
    wanted = (1 - own).square().sum() + 0.5 * (correlation.square().sum() - own.square().sum())
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)  # float32
    (slope,) = torch.autograd.grad(loss, z1, create_graph=True)
    (truth,) = torch.autograd.grad(wanted, a, create_graph=True)
    # of a column of scale s the slope is 1/s of that at scale 1
    found = slope.double() * scales.double()
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-6)
    # and the slope's slope in a random direction
    along = torch.randn(40, 3, generator=generator)
    (bend,) = torch.autograd.grad((slope * (along * scales)).sum(), z2)
    (truth,) = torch.autograd.grad((truth * along.double()).sum(), b)
    torch.testing.assert_close(bend.double() * scales.double(), truth, rtol=1e-3, atol=1e-5)
