"""A mask in the basis of pairs: cases by hand, an independent computation, and what it is for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.linalg import inv, sqrtm
from sklearn.covariance import shrunk_covariance

from mmlite.evaluation import knn_accuracy
from mmlite.pair_mask import fit_pair_mask, learn_pair_mask
from mmlite.whitening import fit_whitening

TURN = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)


def pairs(count: int, dim: int, seed: int = 0, dtype=torch.float64):
    """Return features of pairs [count, dim]: in turned directions, each moved by its own share."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(3, count, dim, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64)).Q
    moved = torch.linspace(0.1, 2, dim, dtype=torch.float64)
    shift = 3 * torch.randn(dim, generator=generator, dtype=torch.float64)
    a, b = ((draw[0] + moved * own) @ turn + shift for own in draw[1:])
    return a.to(dtype), b.to(dtype)


def by_numpy(h, other, shrinkage):
    """Return what the closed form makes of h, written with scikit-learn and SciPy."""
    h, other = h.double().numpy(), other.double().numpy()
    covariance = np.cov(h.T, bias=True).reshape(h.shape[1], -1)
    white = inv(sqrtm(shrunk_covariance(covariance, shrinkage)).real)
    a, b = ((one - h.mean(0)) @ white for one in (h, other))
    _, directions = np.linalg.eigh((a - b).T @ (a - b))
    a, b = a @ directions, b @ directions
    entries = [max(0.0, np.corrcoef(x, y)[0, 1]) for x, y in zip(a.T, b.T, strict=True)]
    return a * np.array(entries), np.array(entries)


def gram(x) -> np.ndarray:
    """Return all products of rows: what is the same whichever way eigenvectors point."""
    x = np.asarray(x)
    return x @ x.T


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(20, 60),
    dim=st.integers(1, 6),
    shrinkage=st.floats(1e-3, 1),
    seed=st.integers(0, 10**6),
)
def test_the_closed_form_is_that_of_an_independent_computation(count, dim, shrinkage, seed):
    h, other = pairs(count, dim, seed)
    found = fit_pair_mask(h, other, shrinkage)
    expected, entries = by_numpy(h, other, shrinkage)
    # two eigenvalues of a random matrix of six may lie 1e-4 apart, which costs four of 16 digits
    np.testing.assert_allclose(np.sort(found.entries.numpy()), np.sort(entries), atol=1e-9)
    np.testing.assert_allclose(gram(found(h).numpy()), gram(expected), atol=1e-8)


def test_by_hand():
    # In turned coordinates: the first is the same within each pair, the second the opposite.
    u = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    v = u * torch.tensor([1.0, -1.0], dtype=torch.float64)
    scales = torch.tensor([2.0, 5.0], dtype=torch.float64)
    middle = torch.tensor([7.0, -3.0], dtype=torch.float64)
    found = fit_pair_mask((u * scales) @ TURN + middle, (v * scales) @ TURN + middle, 0.0)
    # correlation 1 is kept, −1 is cut off at 0; whitened, the first has deviation 1
    assert found.entries.sort().values.tolist() == pytest.approx([0, 1], abs=1e-12)
    read = found((u * scales) @ TURN + middle)
    assert read.abs().sum(1).tolist() == pytest.approx([1] * 4)
    products = read @ read.T
    torch.testing.assert_close(products, u[:, :1] @ u[:, :1].T)


def test_what_a_linear_map_of_the_features_does_goes_away():
    h, other = pairs(80, 4)
    mix = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plain = fit_pair_mask(h, other, 0.0)(h)
    mixed = fit_pair_mask(h @ mix + 5, other @ mix + 5, 0.0)(h @ mix + 5)
    # whitening divides any linear map out; it costs the square of its condition of 16 digits
    torch.testing.assert_close(mixed @ mixed.T, plain @ plain.T, atol=1e-8, rtol=0)


def test_coordinates_come_in_the_order_of_what_pairs_share():
    found = fit_pair_mask(*pairs(4000, 6))
    # whitened, a coordinate's variance within pairs is one less its correlation
    assert found.entries.sort(descending=True).values.tolist() == pytest.approx(
        found.entries.tolist(), abs=0.02
    )


def shortcut(seed: int = 0):
    """Return features, those of pairs, and labels: a loud confounder in no axis, shared by none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (600,), generator=generator)
    signal = torch.eye(4)[labels] + 0.2 * torch.randn(600, 4, generator=generator)
    turn = torch.linalg.qr(torch.randn(44, 44, generator=generator)).Q
    h, other = (
        torch.cat([signal, 6 * torch.randn(600, 40, generator=generator)], 1) @ turn
        for _ in range(2)
    )
    return h, other, labels


@pytest.mark.parametrize("fit", [fit_pair_mask, learn_pair_mask])
def test_what_pairs_do_not_share_is_turned_down(fit):
    h, other, labels = shortcut()
    mask = fit(h[:400], other[:400])

    def read(way):
        return knn_accuracy(way(h[:400]), labels[:400], way(h[400:]), labels[400:])

    assert read(lambda h: h) < 0.6
    assert read(fit_whitening(h[:400])) < 0.95
    assert read(mask) > 0.97
    assert mask.entries.min() >= 0
    assert mask.entries.max() <= 1


def test_learning_lowers_the_loss_that_it_names():
    from mmlite.contrastive import nt_xent

    h, other, _ = shortcut()
    found = {steps: learn_pair_mask(h, other, steps=steps) for steps in (1, 200)}
    losses = {s: float(nt_xent(m(h), m(other), 0.2)) for s, m in found.items()}
    assert losses[200] < losses[1] - 0.5
    again = learn_pair_mask(h, other, steps=200)
    assert torch.equal(again.entries, found[200].entries)
    other_seed = learn_pair_mask(h, other, steps=200, seed=1)
    assert not torch.equal(other_seed.entries, found[200].entries)


def test_the_callers_mode_random_numbers_and_features_are_left_alone():
    h, other, _ = shortcut()
    expected = learn_pair_mask(h, other, steps=3).entries
    state, kept = torch.get_rng_state(), h.clone()
    with torch.inference_mode():
        entries = learn_pair_mask(h, other, steps=3).entries
    torch.testing.assert_close(entries, expected)
    h.requires_grad_()
    entries = learn_pair_mask(h, other, steps=3).entries
    torch.testing.assert_close(entries, expected)
    assert not entries.requires_grad
    assert h.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(h, kept)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_other_precisions_come_out_in_float32(dtype):
    h, other = pairs(200, 4, dtype=dtype)
    found, exact = fit_pair_mask(h, other), fit_pair_mask(h.double(), other.double())
    assert {part.dtype for part in found} == {torch.float32}
    # the same numbers in float64: rounding alone
    torch.testing.assert_close(found.entries.double(), exact.entries, atol=1e-5, rtol=0)


def test_a_dead_dimension_changes_nothing():
    h, other = pairs(100, 3)
    dead = torch.full((100, 1), 2.0, dtype=torch.float64)
    found = fit_pair_mask(torch.cat([h, dead], 1), torch.cat([other, dead], 1))
    read = found(torch.cat([h, dead], 1))
    assert read.isfinite().all()
    # its coordinate varies in no pair and by no image: correlation 0, and no part in any product
    assert float(read.abs().amin(1).max()) == pytest.approx(0, abs=1e-12)


def test_pairs_that_do_not_differ_are_refused():
    h, other = pairs(50, 3)
    for fit in (fit_pair_mask, learn_pair_mask):
        with pytest.raises(ValueError, match="the same in every pair"):
            fit(h, h.clone())
        with pytest.raises(ValueError, match=r"\[50, 3\].*\[49, 3\]"):
            fit(h, other[:49])
        with pytest.raises(ValueError, match="there is no variance"):
            fit(torch.ones(9, 3), torch.randn(9, 3))
        with pytest.raises(ValueError, match="NaN or infinities"):
            fit(h, other * torch.inf)
    with pytest.raises(ValueError, match=r"float \[N, 3\]"):
        fit_pair_mask(h, other)(h[:, :2])
