"""The account of a contrastive loss: each of its terms, and that it balances."""

import math

import pytest
import torch
from accounts import E1, E2, EXACT, MASK, SIGNED, axes, pairs, problems
from hypothesis import given, settings

from mmlite.theory import (
    account as of_account,
    label_consistency,
    least_risk,
    risk_account,
    risk_bounds,
)

EYE = torch.eye(2, dtype=torch.float64)
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
