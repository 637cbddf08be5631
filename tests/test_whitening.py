"""Whitening against scikit-learn, scipy and cases by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.linalg import inv, sqrtm
from sklearn.covariance import shrunk_covariance

from mmlite.evaluation import knn_accuracy
from mmlite.whitening import fit_whitening


def mixed(count: int, dim: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    """Return features [count, dim] that correlate, of unequal size, away from 0."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    mix = mix * torch.logspace(-1, 1, dim, dtype=torch.float64)
    h = torch.randn(count, dim, generator=generator, dtype=torch.float64) @ mix
    return (h + 3 * torch.randn(dim, generator=generator, dtype=torch.float64)).to(dtype)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(12, 60),
    dim=st.integers(1, 8),
    shrinkage=st.floats(1e-3, 1),
    seed=st.integers(0, 10**6),
)
def test_the_matrix_is_the_inverse_root_of_the_shrunk_covariance(count, dim, shrinkage, seed):
    h = mixed(count, dim, seed)
    covariance = np.cov(h.numpy().T, bias=True).reshape(dim, dim)
    expected = inv(sqrtm(shrunk_covariance(covariance, shrinkage)).real)
    found = fit_whitening(h, shrinkage)
    # the condition of the covariance is 1e5 at most with a shrinkage of 1e-3; float64 has 1e-16
    np.testing.assert_allclose(found.matrix.numpy(), expected, rtol=0, atol=1e-8 * expected.max())
    np.testing.assert_allclose(found.mean.numpy(), h.numpy().mean(0), atol=1e-12)


def test_by_hand():
    # deviations 3 and 4 along (1, 1)/√2 and (1, −1)/√2, about (10, 20)
    root = 2**0.5
    h = torch.tensor([[3.0, 3.0], [-3.0, -3.0], [4.0, -4.0], [-4.0, 4.0]]) + torch.tensor(
        [10.0, 20.0]
    )
    white = fit_whitening(h, shrinkage=0.0)
    # variances are 2 · 9 · 2 / 4 = 9 along the one and 2 · 16 · 2 / 4 = 16 along the other
    expected = torch.tensor([[1 / 3 + 1 / 4, 1 / 3 - 1 / 4], [1 / 3 - 1 / 4, 1 / 3 + 1 / 4]]) / 2
    torch.testing.assert_close(white.matrix, expected)
    torch.testing.assert_close(white(torch.tensor([[13.0, 23.0]])), torch.tensor([[1.0, 1.0]]))
    assert white(h).norm(dim=1).tolist() == pytest.approx([root] * 4, abs=1e-5)


def test_shrunk_to_nothing_but_a_factor():
    h = mixed(40, 4)
    factor = h.var(0, correction=0).mean().rsqrt()
    torch.testing.assert_close(
        fit_whitening(h, 1.0).matrix, factor * torch.eye(4, dtype=torch.float64)
    )


def test_readings_do_not_see_a_linear_map_of_the_features():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    h = mixed(60, 5) + 2 * labels[:, None]
    mix = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    each = []
    for features in (h, h @ mix + 7):
        white = fit_whitening(features[:40], shrinkage=0.0)
        each.append(white(features) @ white(features).T)
    # distances and cosines of whitened features are Mahalanobis', which no linear map changes
    torch.testing.assert_close(each[0], each[1], atol=1e-7, rtol=0)


def test_a_loud_shortcut_is_turned_down():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (400,), generator=generator)
    signal = torch.eye(4)[labels] + 0.1 * torch.randn(400, 4, generator=generator)
    shortcut = 20 * torch.randn(400, 4, generator=generator)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q  # on no axis
    h = torch.cat([signal, shortcut], 1) @ turn
    train, test = slice(0, 300), slice(300, 400)
    white, deviation = fit_whitening(h[train], 1e-6), h[train].std(0)

    def read(features):
        return knn_accuracy(features[train], labels[train], features[test], labels[test])

    # chance is 0.25, and standardizing axes does not find what lies on none
    assert read(h) < 0.5
    assert read(h / deviation) < 0.5
    assert read(white(h)) > 0.9


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_any_scale(scale):
    h = mixed(50, 4, dtype=torch.float32)
    plain, scaled = fit_whitening(h)(h), fit_whitening(h * scale)(h * scale)
    torch.testing.assert_close(plain, scaled, atol=1e-3, rtol=0)  # float32, a mean of 3 deviations


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_read_in_float32(dtype):
    h = mixed(50, 4).to(dtype)
    white = fit_whitening(h)
    assert white.matrix.dtype == white(h).dtype == torch.float32
    assert fit_whitening(h.double())(h).dtype == torch.float64


def test_directions_without_variance_need_shrinkage():
    h = mixed(50, 4, dtype=torch.float32)
    repeated = torch.cat([h, h[:, :1] + h[:, 1:2], torch.full((50, 1), 0.1)], 1)
    for features, flat in ((repeated, 2), (mixed(4, 9, dtype=torch.float32), 6)):
        with pytest.raises(ValueError, match=f"does not vary in {flat} of its"):
            fit_whitening(features, shrinkage=0.0)
        white = fit_whitening(features)(features)
        assert bool(white.isfinite().all())
    with pytest.raises(ValueError, match="the same for every image"):
        fit_whitening(torch.full((50, 3), 0.1))


def test_no_graph_is_followed():
    h = mixed(50, 4).requires_grad_()
    white = fit_whitening(h)
    assert not white.matrix.requires_grad
    assert not white(h).requires_grad
    with torch.inference_mode():
        assert bool(fit_whitening(h)(h).isfinite().all())


def test_a_wrong_width_is_told():
    white = fit_whitening(mixed(50, 4))
    with pytest.raises(ValueError, match=r"h must be float \[N, 4\]"):
        white(mixed(50, 5))
    with pytest.raises(ValueError, match="NaN"):
        white(torch.full((2, 4), torch.nan))
