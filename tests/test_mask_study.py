"""Masks, and studies of many: against the columns left, hand-worked cases, repeated experiments."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from scipy import stats
from test_confounders import sample

from mmlite.confounders import class_r2
from mmlite.evaluation import knn_accuracy
from mmlite.mask_study import (
    MaskStudy,
    chance_shares,
    mask_accuracy,
    random_mask_study,
    random_masks,
    split_gain,
    top_mask,
)

# masks


@given(st.integers(1, 50), st.floats(0.01, 1), st.integers(0, 100))
def test_random_masks_keep_exactly_their_share(dim, share, seed):
    masks = random_masks(dim, share, 20, seed)
    assert masks.shape == (20, dim)
    assert (masks.sum(1) == max(1, round(share * dim))).all()
    assert torch.equal(masks, random_masks(dim, share, 20, seed))


def test_random_masks_treat_all_dimensions_alike():
    share = random_masks(10, 0.3, 20_000).double().mean(0)
    # binomial deviation of 20,000 draws at 0.3 is 0.0032; five of them
    torch.testing.assert_close(share, torch.full((10,), 0.3).double(), atol=0.016, rtol=0)


def test_top_mask_keeps_the_most_informative():
    r2 = torch.tensor([0.1, 0.9, 0.5, 0.5])
    assert top_mask(r2, 0.25).tolist() == [False, True, False, False]
    assert top_mask(r2, 0.5).tolist() == [False, True, True, False]
    assert top_mask(-r2, 0.5).tolist() == [True, False, True, False]
    assert top_mask(r2, 1.0).all()


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_masks_refuse_a_share_out_of_range(share):
    with pytest.raises(ValueError, match="share must be a number greater than 0 and at most 1"):
        random_masks(4, share, 2)
    with pytest.raises(ValueError, match="share must be a number greater than 0 and at most 1"):
        top_mask(torch.rand(4), share)


def test_masks_refuse_bad_arguments():
    with pytest.raises(ValueError, match="masks must be a whole number of at least 1"):
        random_masks(4, 0.5, 0)
    with pytest.raises(ValueError, match="one finite number"):
        top_mask(torch.tensor([1.0, math.nan]), 0.5)
    with pytest.raises(ValueError, match="one finite number"):
        top_mask(torch.rand(2, 2), 0.5)


# studies


def two_sets(n=300, m=100, dim=12):
    (a, train_labels), (b, test_labels) = sample(1, n, dim), sample(2, m, dim)
    return (a, train_labels), (b, test_labels)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_mask_accuracy_is_that_of_the_columns_left(share, dtype):
    (a, train_labels), (b, test_labels) = two_sets()
    a[5], b[3] = 0, 0  # similar to nothing
    a, b = a.to(dtype), b.to(dtype)
    masks = random_masks(12, share, 200)
    got = mask_accuracy(a, train_labels, b, test_labels, masks)
    expected = [knn_accuracy(a[:, m], train_labels, b[:, m], test_labels) for m in masks]
    # one image in a hundred, should rounding turn the tie between two neighbors
    torch.testing.assert_close(got, torch.tensor(expected).double(), atol=0.0101, rtol=0)
    assert (got - torch.tensor(expected).double()).abs().mean() < 0.001


@pytest.mark.parametrize("length", [1e-25, 1e25])
def test_mask_accuracy_does_not_see_the_scale_of_a_row(length):
    train, test = two_sets()
    masks = random_masks(train[0].shape[1], 0.5, 4)
    expected = mask_accuracy(*train, *test, masks)
    train[0][3] *= length
    test[0][5] *= length
    # a neighbor at the edge of the k may change places by rounding
    found = mask_accuracy(train[0].requires_grad_(), train[1], *test, masks)
    torch.testing.assert_close(found, expected, atol=0.0101, rtol=0)


def test_mask_accuracy_is_exact_where_a_mask_drops_the_loudest_dimension():
    train, test = two_sets()
    for h, _ in (train, test):
        h[:, 4] += 1e5
    mask = torch.ones(1, 12).bool()
    mask[0, 4] = False
    expected = knn_accuracy(train[0][:, mask[0]], train[1], test[0][:, mask[0]], test[1])
    assert mask_accuracy(*train, *test, mask).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-25, 1e25])
def test_mask_accuracy_does_not_see_scale(factor):
    train, test = two_sets()
    masks = random_masks(12, 0.8, 5)
    scaled = mask_accuracy(train[0] * factor, train[1], test[0] * factor, test[1], masks)
    torch.testing.assert_close(scaled, mask_accuracy(*train, *test, masks), atol=0.0101, rtol=0)


def test_study_counts_the_masks_above_the_whole():
    train, test = two_sets()
    study = random_mask_study(*train, *test, share=0.5, masks=30, seed=4)
    assert torch.equal(study.masks, random_masks(12, 0.5, 30, 4))
    assert study.whole == pytest.approx(knn_accuracy(*train, *test))
    above = sum(a > study.whole for a in study.accuracy.tolist())
    assert study.share_above == above / 30


def test_a_mask_that_drops_noise_reads_better():
    generator = torch.Generator().manual_seed(3)

    def around_a_circle(n):
        labels = torch.arange(n) % 3
        angle = labels * 2 * math.pi / 3 + 0.3 * torch.randn(n, generator=generator)
        noise = 2 * torch.randn(n, 10, generator=generator)
        return torch.cat([angle.cos()[:, None], angle.sin()[:, None], noise], 1), labels

    train, test = around_a_circle(300), around_a_circle(100)
    oracle = top_mask(class_r2(*train), 2 / 12)
    assert oracle.tolist() == 2 * [True] + 10 * [False]
    accuracy = mask_accuracy(*train, *test, torch.stack([oracle, torch.ones(12).bool()]))
    assert accuracy[0] > 0.95
    assert accuracy[1] < 0.7


def made_study(advantage: float, masks=200, images=400, seed=0) -> MaskStudy:
    """Masks and a whole that read half of the images alike, and the rest each on its own."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.rand(masks, images, generator=generator) < 0.7 + advantage
    whole = torch.rand(images, generator=generator) < 0.7
    alike = torch.rand(images, generator=generator) < 0.5
    return MaskStudy(torch.ones(masks, 5).bool(), torch.where(alike, whole, own), whole)


def test_chance_shares_are_as_wide_as_repeating_the_experiment():
    """Fresh images and no true difference: how often does the null call it one at 10 %?"""
    rejected = 0
    for seed in range(100):
        study = made_study(0, seed=seed)
        chance = chance_shares(study, draws=200, seed=seed)
        rejected += bool((chance >= study.share_above).double().mean() < 0.1)
    # binomial(100, 0.1) exceeds 19 with probability 0.002
    assert rejected <= 19
    # while a binomial null, 200 fair coins, calls nearly every one a difference
    binomial = [
        stats.binomtest(round(200 * made_study(0, seed=s).share_above), 200).pvalue < 0.1
        for s in range(100)
    ]
    assert sum(binomial) > 60


def test_chance_shares_count_a_tie_as_none():
    # every mask differs from the whole in one image of 50, which a draw may miss
    whole = torch.arange(50) % 2 == 0
    masks = whole.repeat(40, 1)
    rows = torch.arange(40)
    masks[rows, rows] ^= True
    study = MaskStudy(torch.ones(40, 5).bool(), masks, whole)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(50, (200, 50), generator=generator).tolist()
    ahead = (masks.int() - whole.int()).tolist()
    expected = [  # whole numbers: 50 times the centered sum
        sum(50 * sum(row[i] for i in draw) - 50 * sum(row) > 0 for row in ahead) / 40
        for draw in drawn
    ]
    assert chance_shares(study, draws=200, seed=3).tolist() == pytest.approx(expected, abs=1e-12)


def test_chance_shares_see_a_true_difference():
    study = made_study(0.2)
    assert study.share_above > chance_shares(study).quantile(0.95)


def test_split_gain_is_not_fooled_by_luck():
    gains = [split_gain(made_study(0, seed=seed), splits=20) for seed in range(30)]
    fresh = torch.tensor([gain.fresh for gain in gains])
    assert min(gain.seen for gain in gains) > 0
    # the whole's luck on 400 images, deviation 0.032, over 30 studies: four errors
    assert abs(fresh.mean()) < 4 * 0.032 / 30**0.5
    # a true advantage of 0.2 on the half of the images that the masks read on their own
    better = [split_gain(made_study(0.2, seed=seed), splits=20).fresh for seed in range(10)]
    assert sum(better) / 10 == pytest.approx(0.1, abs=0.04)


def test_split_gain_of_a_hand_worked_case():
    # One mask right on every image, one on none; the whole on half: the first always wins by 1/2
    # on average over both halves.
    right = torch.stack([torch.ones(10), torch.zeros(10)]).bool()
    study = MaskStudy(torch.ones(2, 3).bool(), right, torch.arange(10) < 5)
    gain = split_gain(study, splits=3)
    assert gain == pytest.approx((0.5, 0.5))
    assert study.share_above == 0.5
    assert study.whole == 0.5


def test_evidence_refuses_too_few():
    study = made_study(0)
    with pytest.raises(ValueError, match="draws"):
        chance_shares(study, draws=0)
    with pytest.raises(ValueError, match="splits must be a whole number of at least 1"):
        split_gain(study, splits=0)


def test_mask_accuracy_refuses():
    train, test = two_sets()
    for masks, message in (
        (torch.ones(3, 11).bool(), r"bool of shape \[masks, 12\]"),
        (torch.ones(3, 12), "bool"),
        (torch.ones(12).bool(), "bool"),
        (torch.zeros(1, 12).bool(), "at least one dimension"),
    ):
        with pytest.raises(ValueError, match=message):
            mask_accuracy(*train, *test, masks)
    for bad_train, k, temperature, message in (
        ((train[0][0], train[1]), 20, 0.1, "float tensor"),
        ((train[0][:, :5], train[1]), 20, 0.1, "same width"),
        (train, 301, 0.1, "k must be a whole number from 1 to 300"),
        (train, 20, 0, "temperature"),
    ):
        with pytest.raises(ValueError, match=message):
            random_mask_study(*bad_train, *test, k=k, temperature=temperature)
