"""Bounds on the mean classifier's risk: every one holds, and what they say by hand."""

import math

import pytest
import torch
from accounts import E1, EXACT, MASK, SIGNED, axes, pairs, problems
from hypothesis import given, settings

from mmlite import nt_xent
from mmlite.theory import mask_claims, negatives_gap, nt_xent_offset, risk_account, risk_bounds

ONE_SIDED = ("upper", "upper_by_length", "lower_by_hoeffding", "lower_by_bennett")


@settings(max_examples=300)
@given(problems())
def test_every_bound_holds_on_random_features(problem):
    views, _, temperature, normalize = problem
    account, bounds = risk_account(*problem), risk_bounds(*problem)
    slack = EXACT * max(1, float(views.square().sum(2).max()) / temperature) ** 2
    ce = account.cross_entropy
    assert ce <= bounds.upper + slack
    assert ce <= bounds.upper_by_length + slack
    assert ce >= bounds.lower_by_hoeffding - slack
    assert ce >= bounds.lower_by_bennett - slack
    if normalize:
        assert bounds.upper <= bounds.upper_by_length + slack  # Var ≤ √Var / √τ
        if temperature == 1:
            assert bounds.upper_by_length == pytest.approx(bounds.upper_as_printed, abs=slack)


@pytest.mark.parametrize("name", ONE_SIDED)
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_no_ascent_on_a_bound_s_violation_breaks_it(name, temperature):
    """Features that are moved to violate a bound by as much as they can do not.

    The gradient is that of the violation in other words, written here with autograd.
    """
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        views = torch.randn(2, 8, 3, generator=generator, dtype=torch.float64).requires_grad_()
        labels = torch.arange(8) % (seed + 1)
        optimizer = torch.optim.Adam([views], 0.05)
        for _ in range(60):
            optimizer.zero_grad()
            (-violation(name, views, labels, temperature)).backward()
            optimizer.step()
        found = risk_bounds(views.detach(), labels, temperature)
        ce = risk_account(views.detach(), labels, temperature).cross_entropy
        sign = 1 if name.startswith("upper") else -1
        assert sign * (ce - getattr(found, name)) <= 1e-10


def violation(name, views, labels, temperature) -> torch.Tensor:
    """Return what CE is above an upper bound, or below a lower one."""
    g = torch.nn.functional.normalize(views, dim=2) / temperature**0.5
    flat, y = g.flatten(0, 1), labels.repeat(2)
    hot = torch.nn.functional.one_hot(y).double()
    share = hot.mean(0)
    mean = hot.T @ flat / hot.sum(0)[:, None]
    variance = (flat - mean[y]).square().sum(1).mean()
    log_negatives = (flat @ flat.T).logsumexp(1) - math.log(len(flat))
    log_classes = (flat @ mean.T + share.log()).logsumexp(1)
    jensen = (log_negatives - log_classes).mean()
    alignment = (g[0] - g[1]).square().sum(1).mean()
    if name == "upper":
        return -jensen
    if name == "upper_by_length":
        return variance - alignment / 2 - jensen - (variance / temperature).sqrt()
    if name == "lower_by_hoeffding":
        return jensen - 1 / (2 * temperature**2)
    spread = torch.stack([(flat[y == k] - mean[k]).square().sum(1).mean() for k in y.unique()])
    return jensen - spread.max()  # the variance that Bennett's bound goes by, roughly


def test_the_temperature_trap_breaks_the_bound_as_it_is_printed():
    # one class, spread over the sphere and well aligned: CE = 0, and L is far below 0
    views = pairs(*axes(4))
    bounds = risk_bounds(views, torch.zeros(8, dtype=torch.int64), 0.2)
    assert bounds.upper_as_printed < 0 <= bounds.upper  # "CE ≤ −1.04", and CE is 0
    assert bounds.upper_as_printed == pytest.approx(-2.039766 + 1, abs=1e-6)
    assert bounds.lower_as_printed == pytest.approx(-2.039766 - 1 - 0.5, abs=1e-6)


@pytest.mark.parametrize("negatives", [1, 2, 16])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_the_gap_of_m_negatives_lies_between_nothing_and_its_bound(negatives, temperature):
    generator = torch.Generator().manual_seed(negatives)
    views = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    contrastive = risk_account(views, torch.zeros(6, dtype=torch.int64), temperature).contrastive
    g = torch.nn.functional.normalize(views, dim=2) / temperature**0.5
    flat = g.flatten(0, 1)
    similarity = flat @ flat.T
    draws = 20_000
    drawn = torch.randint(0, 12, (draws, 12, negatives), generator=generator)
    of_negatives = similarity[torch.arange(12)[:, None], drawn].logsumexp(2) - math.log(negatives)
    each = of_negatives.mean(1) - float((g[0] * g[1]).sum(1).mean())
    gap, error = contrastive - float(each.mean()), float(each.std()) / draws**0.5
    bound = negatives_gap(views, negatives, temperature)
    assert -4 * error <= gap <= bound + 4 * error
    assert bound == pytest.approx(negatives_gap(views, 1, temperature) / negatives)


def test_the_gap_s_bound_by_hand():
    # ±e₁: e^(g·g⁻) is e or 1/e alike often. Its mean is cosh 1, so cv = tanh 1, a = e⁻¹ / cosh 1
    a = math.exp(-1) / math.cosh(1)
    expected = (a - 1 - math.log(a)) / (a - 1) ** 2 * math.tanh(1) ** 2 / 5
    found = negatives_gap(pairs(E1, [-1.0, 0.0]), negatives=5)
    assert found == pytest.approx(expected, abs=EXACT)
    assert negatives_gap(pairs(E1, E1), negatives=5) == pytest.approx(0, abs=EXACT)


@settings(max_examples=40)
@given(problems())
def test_nt_xent_is_the_account_s_loss_and_an_offset_to_ten_digits(problem):
    views, _, temperature, _ = problem
    if views.shape[1] < 2:
        return  # NT-Xent needs two images
    z1, z2 = views[:2]
    loss = float(nt_xent(z1, z2, temperature))
    labels = torch.zeros(len(z1), dtype=torch.int64)
    contrastive = risk_account(views[:2], labels, temperature).contrastive
    found = contrastive + nt_xent_offset(views[:2], temperature)
    assert found == pytest.approx(loss, rel=1e-10, abs=1e-10)


def test_a_mask_can_narrow_the_interval_and_spoil_the_classifier():
    claims = mask_claims(pairs(*SIGNED), torch.tensor([0, 0, 1, 1]), MASK)
    assert (claims.variance_falls, claims.interval_narrows, claims.risk_falls) == (
        True,
        True,
        False,
    )
    assert claims.whole.cross_entropy == pytest.approx(0.396594, abs=1e-6)
    assert claims.masked.cross_entropy == pytest.approx(0.544614, abs=1e-6)
    assert claims.whole_width == pytest.approx(2 * 0.2304**0.5 + 0.2304 / 2)
    other = mask_claims(pairs(*SIGNED), torch.tensor([0, 0, 1, 1]), 1 / MASK)
    assert not other.variance_falls
    assert not other.interval_narrows


def test_the_width_is_that_of_the_bounds_as_printed():
    generator = torch.Generator().manual_seed(2)
    views = torch.randn(2, 20, 5, generator=generator)
    labels, mask = torch.arange(20) % 3, torch.rand(5, generator=generator)
    claims = mask_claims(views, labels, mask, temperature=0.3)
    for features, width in ((views, claims.whole_width), (views * mask, claims.masked_width)):
        bounds = risk_bounds(features, labels, 0.3)
        assert width == pytest.approx(bounds.upper_as_printed - bounds.lower_as_printed)


def test_without_normalizing_any_small_mask_lowers_the_variance_and_means_nothing():
    generator = torch.Generator().manual_seed(3)
    views = torch.randn(2, 20, 5, generator=generator, dtype=torch.float64)
    labels, tenth = torch.arange(20) % 3, torch.full((5,), 0.1, dtype=torch.float64)
    raw = mask_claims(views, labels, tenth, normalize=False)
    assert raw.masked.variance == pytest.approx(raw.whole.variance / 100)
    assert raw.interval_narrows
    normalized = mask_claims(views, labels, tenth)
    assert normalized.masked == pytest.approx(normalized.whole, abs=EXACT)
