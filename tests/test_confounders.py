import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy import stats

from mmlite.confounders import class_r2, nuisance_r2


def sample(seed=0, n=60, dim=7, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    h = torch.randn(n, dim, generator=generator)
    h[:, 0] += 2 * labels
    return h, labels


# class_r2


def test_class_r2_of_a_hand_worked_case():
    # Class means 1 and 5 about 3: between 4 · 4 = 16, within 4 · 1 = 4, total 20.
    h = torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [6.0, 1.0]])
    r2 = class_r2(h, torch.tensor([0, 0, 1, 1]))
    assert r2.tolist() == pytest.approx([0.8, 0.0])


@given(st.integers(0, 10_000), st.integers(4, 40), st.integers(2, 5))
def test_class_r2_is_that_of_the_analysis_of_variance(seed, n, classes):
    h, labels = sample(seed, n, classes=classes)
    groups = [h[labels == c].double().numpy() for c in labels.unique()]
    got = class_r2(h, labels)
    assert got.dtype == torch.float32
    if len(groups) == 1:
        assert got.max() < 1e-12  # what rounding leaves in float64
        return
    if all(len(group) == 1 for group in groups):
        return
    f = stats.f_oneway(*groups).statistic
    between, within = len(groups) - 1, n - len(groups)
    # η² = F · df1 / (F · df1 + df2); float32 results round by 6e-8
    np.testing.assert_allclose(got, f * between / (f * between + within), atol=1e-6)


def test_class_r2_does_not_see_shift_or_scale():
    h, labels = sample()
    nuisance = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    factor, shift = torch.logspace(-6, 6, 7), torch.linspace(-3, 3, 7)
    # a shift of 3 against a spread of 1e-6 leaves float32 no digits, so shift what was scaled
    moved = (h + shift) * factor
    for before, after in (
        (class_r2(h, labels), class_r2(moved, labels)),
        (nuisance_r2(h, nuisance), nuisance_r2(moved, nuisance)),
    ):
        torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30, 1e-30, 7.3])
def test_a_dimension_that_does_not_vary_holds_nothing(value):
    h, labels = sample(n=1001)
    h[:, 2] = value
    nuisance = torch.randn(1001, 3)
    assert class_r2(h, labels)[2] == 0
    assert nuisance_r2(h, nuisance)[2] == 0
    assert class_r2(h, labels).isfinite().all()


def test_class_r2_is_exact_at_its_ends():
    labels = torch.arange(30) % 3
    nuisance = torch.randn(30, 2, dtype=torch.float64)
    h = torch.stack([labels.double(), nuisance @ torch.tensor([1.0, -2.0]).double() + 5], 1)
    assert class_r2(h, labels)[0] == pytest.approx(1, abs=1e-12)
    assert nuisance_r2(h, nuisance)[1] == pytest.approx(1, abs=1e-12)
    assert class_r2(h, labels).max() <= 1
    assert nuisance_r2(h, nuisance).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_class_r2_of_other_types(dtype):
    h, labels = sample()
    h = h.to(dtype)
    expected = class_r2(h.double(), labels)
    got = class_r2(h, labels)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("h", "labels", "message"),
    [
        (torch.randn(5), torch.zeros(5).long(), "float tensor"),
        (torch.randn(1, 5), torch.zeros(1).long(), "at least 2 rows"),
        (torch.ones(4, 2).long(), torch.zeros(4).long(), "float tensor"),
        ([[1.0]], torch.zeros(1).long(), "got list"),
        (torch.full((4, 2), math.nan), torch.zeros(4).long(), "NaN"),
        (torch.randn(4, 2), torch.zeros(3).long(), "one for each row"),
        (torch.randn(4, 2), torch.zeros(4), "int64"),
        (torch.randn(4, 2), torch.tensor([0, 1, -1, 0]), "negative"),
        (torch.randn(4, 2), [0, 1, 1, 0], "got list"),
    ],
)
def test_class_r2_refuses(h, labels, message):
    with pytest.raises(ValueError, match=message):
        class_r2(h, labels)


# nuisance_r2


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_nuisance_r2_is_that_of_least_squares(seed, k):
    generator = torch.Generator().manual_seed(seed)
    nuisance = torch.randn(40, k, generator=generator, dtype=torch.float64)
    h = nuisance @ torch.randn(k, 6, generator=generator, dtype=torch.float64)
    h = h + torch.randn(40, 6, generator=generator, dtype=torch.float64) + 3
    design = np.column_stack([np.ones(40), nuisance])
    rest = h.numpy() - design @ np.linalg.lstsq(design, h.numpy(), rcond=None)[0]
    expected = 1 - (rest**2).sum(0) / ((h - h.mean(0)).numpy() ** 2).sum(0)
    np.testing.assert_allclose(nuisance_r2(h, nuisance), expected, atol=1e-12)


def test_nuisance_columns_that_repeat_each_other_count_once():
    h, _ = sample()
    nuisance = torch.randn(60, 2)
    repeated = torch.cat([nuisance, nuisance @ torch.randn(2, 3), torch.ones(60, 1)], 1)
    torch.testing.assert_close(
        nuisance_r2(h, repeated), nuisance_r2(h, nuisance), atol=1e-5, rtol=0
    )
    assert not nuisance_r2(h, torch.ones(60, 2)).any()


def test_nuisance_r2_by_chance_is_about_k_over_n():
    h, nuisance = torch.randn(2000, 200), torch.randn(2000, 10)
    # the mean of 200 shares with mean 10/1999 and deviation about 0.0022: four of its errors
    assert nuisance_r2(h, nuisance).mean() == pytest.approx(10 / 1999, abs=7e-4)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [(59, 2, "one row for each"), (60, 59, "too few"), (60, 0, "at least one column")],
)
def test_nuisance_r2_refuses(rows, columns, message):
    with pytest.raises(ValueError, match=message):
        nuisance_r2(sample()[0], torch.randn(rows, columns))
