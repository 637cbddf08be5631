"""The readers against loops, scikit-learn and cases by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from mmlite import evaluation
from mmlite.confounders import class_r2, nuisance_r2
from mmlite.contrastive import alignment, nt_xent, uniformity
from mmlite.evaluation import (
    few_label_accuracy,
    knn_accuracy,
    linear_probe_accuracy,
    neighbors,
    topk,
)
from mmlite.mask_study import mask_accuracy, random_mask_study, top_mask
from mmlite.redundancy import barlow_twins, cross_correlation, effective_rank, rankme, redundancy


def clusters(count: int, dim: int = 6, classes: int = 3, noise: float = 1.0, seed: int = 0):
    """Return features around random centers [count, dim], shifted and scaled by dimension."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    features = centers[labels] + noise * torch.randn(count, dim, generator=generator)
    return features * torch.logspace(-1, 1, dim) + 3, labels


def knn_by_loops(train_h, train_labels, test_h, test_labels, k, temperature):
    right = 0
    for query, label in zip(test_h.double().numpy(), test_labels.tolist(), strict=True):
        votes: dict[int, float] = {}
        similarity = [
            float(query @ row / np.linalg.norm(query) / np.linalg.norm(row))
            for row in train_h.double().numpy()
        ]
        for index in sorted(range(len(similarity)), key=lambda i: -similarity[i])[:k]:
            voted = int(train_labels[index])
            votes[voted] = votes.get(voted, 0) + math.exp(similarity[index] / temperature)
        right += max(votes, key=votes.get) == label
    return right / len(test_labels)


@settings(max_examples=25, deadline=None)
@given(k=st.integers(1, 30), temperature=st.floats(0.02, 2.0), seed=st.integers(0, 10**6))
def test_knn_is_the_weighted_vote(k, temperature, seed):
    train, test = clusters(30, seed=seed), clusters(20, seed=seed + 1)
    assert knn_accuracy(*train, *test, k, temperature) == pytest.approx(
        knn_by_loops(*train, *test, k, temperature)
    )


def test_knn_by_hand():
    train_h = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    query, label = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    assert knn_accuracy(train_h, labels, query, label, k=1) == 1
    # weights e^10, e^9.95 and 1: class 1 wins only with both of its voters at a high temperature
    assert knn_accuracy(train_h, labels, query, label, k=3, temperature=0.001) == 1
    assert knn_accuracy(train_h, labels, query, label, k=3, temperature=10.0) == 0


def test_pieces_give_what_the_whole_gives(monkeypatch):
    train, test = clusters(50), clusters(33, seed=1)
    whole = neighbors(train[0], test[0], 7)
    monkeypatch.setattr(evaluation, "CHUNK", 200)  # 4 queries at a time
    pieces = neighbors(train[0], test[0], 7)
    assert torch.equal(whole[1], pieces[1])
    assert torch.allclose(whole[0], pieces[0], atol=1e-6)


def test_similarities_held_at_once_are_bounded(monkeypatch):
    widths = []
    topk = torch.Tensor.topk
    monkeypatch.setattr(
        torch.Tensor,
        "topk",
        lambda self, *a, **k: widths.append(self.numel()) or topk(self, *a, **k),
    )
    monkeypatch.setattr(evaluation, "CHUNK", 1000)
    neighbors(torch.randn(100, 4), torch.randn(95, 4), 5)
    assert max(widths) <= 1000


def test_a_zero_row_is_similar_to_nothing():
    similarity, _ = neighbors(torch.eye(3), torch.zeros(1, 3), 2)
    assert similarity.tolist() == [[0, 0]]


@pytest.mark.parametrize("weight_decay", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("noise", [0.3, 2.0])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.filterwarnings("error:the linear probe has not converged")
def test_the_probe_is_scikit_learns_regression(weight_decay, noise, standardize):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    (train_h, train_labels), (test_h, test_labels) = (
        clusters(300, noise=noise),
        clusters(500, noise=noise, seed=1),
    )
    scaler = StandardScaler(with_std=standardize).fit(train_h.double().numpy())
    peer = LogisticRegression(C=1 / (weight_decay * 300), tol=1e-8, max_iter=10_000)
    peer.fit(scaler.transform(train_h.double().numpy()), train_labels.numpy())
    expected = peer.score(scaler.transform(test_h.double().numpy()), test_labels.numpy())
    got = linear_probe_accuracy(
        train_h, train_labels, test_h, test_labels, weight_decay, standardize
    )
    # one of 500 on the boundary may fall the other way
    assert got == pytest.approx(expected, abs=0.0021)
    # A convex objective has one minimum: as low as the peer's, evaluated here in float64.
    mean, std = train_h.mean(0), train_h.std(0, correction=0) if standardize else 1
    ours = evaluation._logistic_regression((train_h - mean) / std, train_labels, weight_decay)
    theirs = torch.from_numpy(peer.coef_), torch.from_numpy(peer.intercept_)

    def objective(weight, bias):
        x = torch.from_numpy(scaler.transform(train_h.double().numpy()))
        logits = x @ weight.double().T + bias.double()
        loss = torch.nn.functional.cross_entropy(logits, train_labels)
        return float(loss + weight_decay / 2 * weight.double().square().sum())

    assert objective(*ours) == pytest.approx(objective(*theirs), abs=1e-6)


def test_the_probe_is_deterministic_and_leaves_the_random_state():
    train, test = clusters(100), clusters(100, seed=1)
    state = torch.random.get_rng_state()
    first = linear_probe_accuracy(*train, *test)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(123)
    assert linear_probe_accuracy(*train, *test) == first


def test_only_a_probe_that_standardizes_is_blind_to_how_loud_a_dimension_is():
    (train_h, train_labels), (test_h, test_labels) = clusters(300), clusters(300, seed=1)
    mask = torch.tensor([1.0, 0.5, 0.1, 0.01, 1e-3, 1e-4])

    def read(weight, standardize):
        return linear_probe_accuracy(
            train_h * weight, train_labels, test_h * weight, test_labels, standardize=standardize
        )

    assert read(mask, True) == pytest.approx(read(1, True), abs=0.0034)  # one of 300
    # the mask leaves two of six dimensions that can be used without great weights
    assert read(mask, False) < read(1, False) - 0.05


@given(
    exponents=st.lists(st.integers(-36, 36), min_size=6, max_size=6),
    weight_decay=st.sampled_from([1e-3, 1.0]),
)
@settings(deadline=None, max_examples=20)
@pytest.mark.filterwarnings("error:the linear probe has not converged")
def test_a_probe_is_of_no_unit(exponents, weight_decay):
    (train_h, train_labels), (test_h, test_labels) = clusters(300), clusters(300, seed=1)

    def read(unit, weight_decay, standardize):
        return linear_probe_accuracy(
            train_h * unit, train_labels, test_h * unit, test_labels, weight_decay, standardize
        )

    # each dimension in a unit of its own; one of 300 on the boundary may fall the other way
    units = 10.0 ** torch.tensor(exponents)
    got, expected = read(units, weight_decay, True), read(1, weight_decay, True)
    assert got == pytest.approx(expected, abs=0.0034)
    # W is 1 / unit of what it was, so its decay is unit² of what it was
    unit = 10.0 ** exponents[0]
    got, expected = read(unit, weight_decay * unit**2, False), read(1, weight_decay, False)
    assert got == pytest.approx(expected, abs=0.0034)


@pytest.mark.filterwarnings("error:the linear probe has not converged")
def test_decay_without_bound_leaves_a_probe_the_classes_shares():
    (train_h, _), (test_h, _) = clusters(300), clusters(300, seed=1)
    train_labels, test_labels = torch.arange(300) % 5 // 2, torch.zeros(300, dtype=torch.int64)
    # shares of 0.4, 0.4 and 0.2: what is rare is never said
    for unit, weight_decay in ((1e-30, 1e-3), (1.0, 1e30), (1e30, 1e300)):
        got = [
            linear_probe_accuracy(
                train_h * unit,
                train_labels,
                test_h * unit,
                test_labels + label,
                weight_decay,
                standardize=False,
            )
            for label in range(3)
        ]
        assert got[2] == 0
        assert sum(got) == pytest.approx(1)


def test_constant_dimensions_and_half_precision_do_no_harm():
    (train_h, train_labels), (test_h, test_labels) = clusters(200), clusters(200, seed=1)
    plain = linear_probe_accuracy(train_h, train_labels, test_h, test_labels)

    def widen(h):
        return torch.cat([h, torch.full((len(h), 2), 0.1), torch.zeros(len(h), 1)], 1)

    wide = linear_probe_accuracy(widen(train_h), train_labels, widen(test_h), test_labels)
    assert wide == pytest.approx(plain, abs=0.006)  # one of 200
    half = linear_probe_accuracy(train_h.half(), train_labels, test_h.half(), test_labels)
    assert half == pytest.approx(plain, abs=0.02)  # float16 keeps three digits


def test_the_probe_separates_what_is_separable_and_guesses_what_is_noise():
    train_h = torch.eye(4).repeat(5, 1)
    labels = torch.arange(4).repeat(5)
    assert linear_probe_accuracy(train_h, labels, torch.eye(4), torch.arange(4)) == 1
    zeros = torch.zeros(20, 4)
    assert linear_probe_accuracy(zeros, labels, zeros, labels) == 0.25


def test_few_labels_use_few_labels(monkeypatch):
    seen = []
    probe = evaluation.linear_probe_accuracy

    def spy(train_h, train_labels, *rest):
        seen.append(train_labels.bincount().tolist())
        return probe(train_h, train_labels, *rest)

    monkeypatch.setattr(evaluation, "linear_probe_accuracy", spy)
    train, test = clusters(90), clusters(90, seed=1)
    mean = few_label_accuracy(*train, *test, per_class=4, draws=3)
    assert seen == [[4, 4, 4]] * 3
    assert 0.34 < mean <= 1
    assert few_label_accuracy(*train, *test, per_class=4, draws=3) == mean
    other = few_label_accuracy(*train, *test, per_class=4, draws=3, seed=1)
    assert other != mean


def test_few_labels_refuse_a_class_that_has_fewer():
    train, test = clusters(10), clusters(9, seed=1)
    with pytest.raises(ValueError, match="class 1 has 3 training images, fewer than per_class=4"):
        few_label_accuracy(*train, *test, per_class=4)


H, LABELS = torch.randn(10, 4), torch.arange(10) % 2


@pytest.mark.parametrize("reader", [knn_accuracy, linear_probe_accuracy])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((H[0], LABELS, H, LABELS), "train_h must be a float tensor"),
        ((H.long(), LABELS, H, LABELS), "train_h must be a float tensor"),
        ((H[:0], LABELS[:0], H, LABELS), "that is not empty"),
        ((H, LABELS[:3], H, LABELS), "train_labels must be int64 of shape"),
        ((H, LABELS, H, LABELS.float()), "test_labels must be int64"),
        ((H, LABELS.tolist(), H, LABELS), "got list; torch.tensor makes one"),
        ((H, LABELS, H, LABELS.to("meta")), "test_h lies on cpu, test_labels on meta"),
        ((H, LABELS - 1, H, LABELS), "train_labels holds a label below 0"),
        ((H, LABELS, H[:, :3], LABELS), "the same width D"),
        ((H * torch.nan, LABELS, H, LABELS), "train_h holds NaN"),
    ],
)
def test_readers_refuse_what_does_not_fit(reader, arguments, message):
    more = {"k": 3} if reader is knn_accuracy else {}
    with pytest.raises(ValueError, match=message):
        reader(*arguments, **more)


def test_two_devices_are_refused():
    with pytest.raises(ValueError, match="one device, got cpu and meta"):
        evaluation.alike("test_h", H, H.to("meta"))


@pytest.mark.parametrize("reader", [knn_accuracy, linear_probe_accuracy, few_label_accuracy])
@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float64), (torch.float32, torch.float64)])
def test_readers_read_any_precision(reader, dtypes):
    (train_h, train_labels), (test_h, test_labels) = clusters(200), clusters(200, seed=1)
    plain = reader(train_h, train_labels, test_h, test_labels)
    other = reader(train_h.to(dtypes[0]), train_labels, test_h.to(dtypes[1]), test_labels)
    assert other == pytest.approx(plain, abs=0.0051)  # one of 200 on the boundary may fall over


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k": 0}, "k must be a whole number from 1 to 10, got 0"),
        ({"k": 11}, "k must be"),
        ({"temperature": 0}, "temp"),
    ],
)
def test_knn_refuses_wrong_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        knn_accuracy(H, LABELS, H, LABELS, **({"k": 3} | wrong))


@given(
    st.integers(0, 1000), st.integers(1, 8), st.integers(1, 2000), st.sampled_from([2, 9, 2**24])
)
def test_largest_is_topk(seed, k, n, levels):
    k = min(k, n)
    # of few levels many are tied
    rows = torch.randint(levels, (3, n), generator=torch.Generator().manual_seed(seed)).float()
    value, place = topk(rows, k)
    expected = rows.topk(k, dim=1)
    assert torch.equal(value, expected.values)
    assert torch.equal(rows.gather(1, place), value)
    assert all(len(set(row)) == k for row in place.tolist())


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_neighbors_do_not_see_scale(factor):
    train_h, _ = clusters(50)
    query_h, _ = clusters(20, seed=1)
    expected = neighbors(train_h, query_h, 5)
    got = neighbors(train_h * factor, query_h * factor, 5)
    assert torch.equal(got[1], expected[1])
    torch.testing.assert_close(got[0], expected[0])


# representations that carry a graph, and modes of autograd


def readings(train_h, train_labels, test_h, test_labels):
    """Return what every reader and diagnostic says of two sets of representations."""
    train, test = (train_h, train_labels), (test_h, test_labels)
    study = random_mask_study(*train, *test, masks=3, k=3)
    return [
        knn_accuracy(*train, *test, k=3),
        linear_probe_accuracy(*train, *test),
        few_label_accuracy(*train, *test, per_class=2, draws=2),
        *neighbors(train_h, test_h, 3),
        class_r2(train_h, train_labels),
        nuisance_r2(train_h, test_h[:, :2]),
        top_mask(train_h[0], 0.5),
        mask_accuracy(*train, *test, study.masks, k=3),
        study.right,
        redundancy(train_h),
        effective_rank(train_h),
        rankme(train_h),
    ]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, torch.Tensor):
            assert not one.requires_grad
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        else:
            assert one == other


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_readers_follow_no_graph_and_leave_no_gradient(dtype):
    torch.manual_seed(0)
    encoder = torch.nn.Linear(6, 5).to(dtype)
    x, labels = torch.randn(2, 24, 6).to(dtype), torch.arange(24) % 2
    h, fresh = encoder(x[0]), encoder(x[1])
    expected = readings(h.detach(), labels, fresh.detach(), labels)
    assert_same(readings(h, labels, fresh, labels), expected)
    leaf, other = h.detach().requires_grad_(), fresh.detach().requires_grad_()
    assert_same(readings(leaf, labels, other, labels), expected)
    assert leaf.grad is other.grad is encoder.weight.grad is encoder.bias.grad is None
    h.sum().backward()  # the graph is as it was
    assert encoder.weight.grad is not None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_readers_within_other_modes_and_on_what_comes_out_of_them(mode):
    torch.manual_seed(1)
    encoder, x, labels = torch.nn.Linear(6, 5), torch.randn(2, 24, 6), torch.arange(24) % 2
    with torch.no_grad():
        expected = readings(encoder(x[0]), labels, encoder(x[1]), labels)
    with mode():
        h, fresh, their_labels = encoder(x[0]), encoder(x[1]), labels.clone()
        assert_same(readings(h, their_labels, fresh, their_labels), expected)
        assert torch.is_inference_mode_enabled() is (mode is torch.inference_mode)
    assert_same(readings(h, their_labels, fresh, their_labels), expected)
    assert torch.is_grad_enabled()


def test_readers_do_not_round_under_autocast():
    torch.manual_seed(2)
    h, fresh, labels = *torch.randn(2, 60, 8), torch.arange(60) % 3
    expected = readings(h, labels, fresh, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = readings(h, labels, fresh, labels)[:10]
    assert_same(found, expected[:10])


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_losses_are_values_in_every_mode(mode):
    z1, z2 = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(3))
    losses = (nt_xent, alignment, barlow_twins, cross_correlation, lambda a, b: uniformity(a))
    expected = [loss(z1, z2) for loss in losses]
    with mode():
        found = [loss(z1.clone(), z2.clone()) for loss in losses]
        outside = z1.clone(), z2.clone()
    found += [loss(*outside) for loss in losses]
    for one, other in zip(found, expected * 2, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
