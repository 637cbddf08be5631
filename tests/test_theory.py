"""The account of a contrastive loss: it balances, and every bound on it holds."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from mmlite import nt_xent
from mmlite.theory import (
    account as of_account,
    label_consistency,
    least_risk,
    mask_claims,
    negatives_gap,
    nt_xent_offset,
    risk_account,
    risk_bounds,
)

EXACT = 1e-12  # sums of float64: some thousand times its rounding


def pairs(*points) -> torch.Tensor:
    """Return two identical views of each point."""
    one = torch.tensor(points, dtype=torch.float64)
    return torch.stack([one, one])


def axes(count: int) -> list[list[float]]:
    """Return ±e₁ … ±e_count."""
    return [[s * float(i == j) for j in range(count)] for i in range(count) for s in (1.0, -1.0)]


SIGNED = [[s * 0.6, t * 0.48, 0.64] for s in (1, -1) for t in (1, -1)]
MASK = torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64)
E1, E2, EYE = [1.0, 0.0], [0.0, 1.0], torch.eye(2, dtype=torch.float64)
BY_HAND = {  # views, labels, τ, then CE, L, H, Var, A, J
    "two classes": (
        *(pairs(E1, [-1.0, 0.0]), [0, 1], 1.0),
        *(math.log1p(math.exp(-2)), -1 + math.log(math.cosh(1)), math.log(2), 0, 0, 0),
    ),
    "one class": (
        *(pairs(E1, [-1.0, 0.0]), [0, 0], 1.0),
        *(0, -1 + math.log(math.cosh(1)), 0, 1, 0, math.log(math.cosh(1))),
    ),
    "four points": (
        *(pairs(E1, E2, [-1.0, 0.0], [0.0, -1.0]), [0, 0, 1, 1], 1.0),
        *(math.log1p(math.exp(-1)), -1 + 2 * math.log(math.cosh(0.5))),
        *(math.log(2), 0.5, 0, 0.120115),
    ),
    "views that differ": (
        torch.stack([torch.stack([EYE[0], -EYE[0]]), torch.stack([EYE[1], -EYE[1]])]),
        *([0, 1], 1.0, math.log1p(math.exp(-1)), 2 * math.log(math.cosh(0.5))),
        *(math.log(2), 0.5, 2, 0.120115),
    ),
    "unequal shares": (
        *(pairs(E1, E1, E1, [-1.0, 0.0]), [0, 0, 0, 1], 1.0),
        *(0.118281, -0.444054, 0.562335, 0, 0, 0),
    ),
    "first sign": (
        pairs(*SIGNED),
        [0, 0, 1, 1],
        1.0,
        0.396594,
        -0.500643,
        None,
        0.2304,
        0,
        0.026311,
    ),
    "first sign, masked": (
        *(pairs(*SIGNED) * MASK, [0, 0, 1, 1], 1.0),
        *(0.544614, -0.246574, None, 0.103374, 0, 0.005334),
    ),
    "eight points, cold": (pairs(*axes(4)), [0] * 8, 0.2, 0, -2.039766, 0, 5, 0, 2.960234),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_cases_by_hand(name):
    views, labels, temperature, *expected = BY_HAND[name]
    account = risk_account(views, torch.tensor(labels), temperature)
    fields = ("cross_entropy", "contrastive", "entropy", "variance", "alignment", "jensen")
    for field, value in zip(fields, expected, strict=True):
        if value is not None:
            # the digits to which they were worked out
            assert getattr(account, field) == pytest.approx(value, abs=6e-7), field
    assert account.total == pytest.approx(account.cross_entropy, abs=EXACT)


@st.composite
def problems(draw):
    """Draw views, labels, a temperature, and whether to normalize."""
    v, n, d = draw(st.integers(2, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.sampled_from([0.01, 0.3, 1.0, 3.0]))
    images = torch.randn(1, n, d, generator=generator, dtype=torch.float64)
    views = images + spread * torch.randn(v, n, d, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, draw(st.integers(1, n)), (n,), generator=generator)
    temperature = draw(st.sampled_from([0.07, 0.2, 1.0, 5.0]))
    return views, labels, temperature, draw(st.booleans())


def by_force(views, labels, temperature, normalize) -> dict[str, float]:
    """Compute each term from its definition, view by view and pair by pair."""
    v, n, _ = views.shape
    f = [[views[a, i] for i in range(n)] for a in range(v)]
    if normalize:
        f = [[x / x.square().sum().sqrt() for x in row] for row in f]
    g = [[x / temperature**0.5 for x in row] for row in f]
    every = [(g[a][i], int(labels[i])) for a in range(v) for i in range(n)]
    of_class = {k: [x for x, y in every if y == k] for k in {y for _, y in every}}
    share = {k: len(of) / len(every) for k, of in of_class.items()}
    mean = {k: sum(of) / len(of) for k, of in of_class.items()}
    found = dict.fromkeys(("cross_entropy", "contrastive", "variance", "alignment", "jensen"), 0.0)
    found["entropy"] = -sum(p * math.log(p) for p in share.values())
    for x, y in every:
        negatives = torch.stack([x @ other for other, _ in every])
        log_negatives = float(torch.logsumexp(negatives, 0)) - math.log(len(every))
        scores = {k: float(x @ mean[k]) + math.log(share[k]) for k in mean}
        log_classes = float(
            torch.logsumexp(torch.tensor(list(scores.values()), dtype=torch.float64), 0)
        )
        found["cross_entropy"] += (log_classes - scores[y]) / len(every)
        found["contrastive"] += log_negatives / len(every)
        found["jensen"] += (log_negatives - log_classes) / len(every)
        found["variance"] += float((x - mean[y]).square().sum()) / len(every)
    for i in range(n):
        for a in range(v):
            for b in range(v):
                if a != b:
                    weight = 1 / (n * v * (v - 1))
                    found["contrastive"] -= weight * float(g[a][i] @ g[b][i])
                    found["alignment"] += weight * float((g[a][i] - g[b][i]).square().sum())
    return found


@settings(max_examples=60)
@given(problems())
def test_each_term_is_what_its_definition_says(problem):
    account = risk_account(*problem)
    size = float(problem[0].square().sum(2).max()) / problem[2]  # similarities grow with it
    for name, value in by_force(*problem).items():
        assert getattr(account, name) == pytest.approx(value, abs=EXACT * max(1, size)), name


@settings(max_examples=300)
@given(problems())
def test_the_account_balances(problem):
    account = risk_account(*problem)
    size = max(1, float(problem[0].square().sum(2).max()) / problem[2])
    assert account.total == pytest.approx(account.cross_entropy, abs=EXACT * size)
    assert account.jensen >= -EXACT * size
    assert account.cross_entropy >= -EXACT


def test_it_is_computed_in_pieces_and_in_float64(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(3, 40, 5, generator=generator)
    labels = torch.randint(0, 4, (40,), generator=generator)
    at_once = risk_account(views, labels, 0.2)
    monkeypatch.setattr(of_account, "AT_ONCE", 1000)  # 8 rows of 120
    assert risk_account(views, labels, 0.2) == pytest.approx(at_once, abs=EXACT)
    assert at_once.total == pytest.approx(at_once.cross_entropy, abs=EXACT)  # of float32 features
    for dtype in (torch.float16, torch.bfloat16):
        rounded = risk_account(views.to(dtype), labels, 0.2)
        assert rounded.total == pytest.approx(rounded.cross_entropy, abs=EXACT)


def test_scale_and_direction():
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(30) % 3
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    plain = risk_account(views, labels, 0.5)
    assert risk_account(views @ turn, labels, 0.5) == pytest.approx(plain, abs=EXACT)
    assert risk_account(3.0 * views, labels, 0.5) == pytest.approx(plain, abs=EXACT)
    assert risk_account(1e200 * views, labels, 0.5) == pytest.approx(plain, abs=EXACT)
    assert risk_account(views, labels * 7 + 2, 0.5) == pytest.approx(plain, abs=EXACT)
    raw, tripled = (risk_account(c * views, labels, 0.5, normalize=False) for c in (1.0, 3.0))
    assert tripled.variance == pytest.approx(9 * raw.variance)
    assert tripled.alignment == pytest.approx(9 * raw.alignment)
    # τ and the scale are one: g = f / √τ
    colder = risk_account(views, labels, 0.5 / 9, normalize=False)
    assert colder == pytest.approx(tripled, abs=1e-9)  # similarities of up to 200
    assert risk_account(views, labels, 0.5 / 9).variance == pytest.approx(9 * plain.variance)


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


def test_the_least_risk_is_that_of_a_simplex_and_no_features_have_less():
    for classes, temperature in ((2, 1.0), (3, 0.5), (10, 1.0)):
        corners = torch.eye(classes, dtype=torch.float64) - 1 / classes
        views = torch.stack([corners, corners])
        risk = risk_account(views, torch.arange(classes), temperature).cross_entropy
        assert risk == pytest.approx(least_risk(classes, temperature), abs=EXACT)
    assert least_risk(10) == pytest.approx(1.377, abs=5e-4)
    assert least_risk(10) / math.log(2) == pytest.approx(1.99, abs=5e-3)
    assert least_risk(4) < math.log(2) < least_risk(5)
    assert least_risk(1) == 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        views = torch.randn(2, 12, 3, generator=generator, dtype=torch.float64)
        assert risk_account(views, torch.arange(12) % 4).cross_entropy >= least_risk(4)


def test_label_consistency_counts_pairs_by_hand():
    # the means are e₁ and −e₁; of three views of each image two lie with their class
    near, far = [1.0, 0.2], [-1.0, 0.2]
    views = torch.tensor([[near, far], [near, far], [[-0.1, 1.0], [0.1, 1.0]]])
    assert label_consistency(views, torch.tensor([0, 1])) == pytest.approx(1 / 3)
    assert label_consistency(views[:2], torch.tensor([0, 1])) == 1
    assert label_consistency(views, torch.tensor([3, 3])) == 1  # there is no other class


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


GOOD = torch.randn(2, 4, 3)
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD[0], LABELS), r"views must be float \[V, N, D\] with V ≥ 2"),
        ((GOOD[:1], LABELS), "with V ≥ 2"),
        ((GOOD.long(), LABELS), "views must be float"),
        ((GOOD[:, :0], LABELS[:0]), "views must be float"),
        ((GOOD / 0, LABELS), "views holds NaN or infinities"),
        ((GOOD * torch.tensor([1.0, 0.0, 0.0]) * 0, LABELS), "a feature of length 0"),
        ((GOOD, LABELS[:3]), r"labels must be int64 \[4\]"),
        ((GOOD, LABELS - 1), "none below 0"),
        ((GOOD, LABELS.float()), r"labels must be int64 \[4\]"),
        ((GOOD, LABELS, 0.0), "temperature must be"),
        ((GOOD, LABELS, 1.0, "yes"), "normalize must be True or False"),
    ],
)
def test_what_has_no_account_is_refused(arguments, message):
    for function in (risk_account, risk_bounds, label_consistency):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_features_of_length_0_have_an_account_if_they_are_not_normalized():
    account = risk_account(torch.zeros(2, 4, 3), LABELS, normalize=False)
    assert account.cross_entropy == pytest.approx(math.log(2))
    assert account.total == pytest.approx(account.cross_entropy)


def test_a_graph_is_not_followed():
    views = GOOD.clone().requires_grad_()
    risk_account(views, LABELS)
    with torch.inference_mode():
        risk_bounds(views, LABELS)
    assert views.grad is None
