"""What a study reads of an encoder and its mask, computed again in NumPy and by scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from mmlite import ImageSet
from mmlite.experiments.study.readings import CollapseError, read, read_for_tuning

D, N, M = 6, 120, 90


def data(seed: int) -> tuple[nn.Module, ImageSet, ImageSet]:
    """Return an encoder that passes pixels on, and images of three classes."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(3, D, generator=generator) * 100 + 60
    sets = []
    for count in (N, M):
        labels = torch.arange(count) % 3
        noise = torch.randn(count, D, generator=generator) * torch.linspace(5, 60, D)
        pixels = (centers[labels] + noise).clamp(0, 255).to(torch.uint8)
        nuisance = torch.randn(count, 2, generator=generator)
        sets.append(ImageSet(pixels.view(count, 1, 2, 3), labels, ("a", "b", "c"), "x", nuisance))
    return nn.Flatten(), *sets


def features(images: ImageSet) -> np.ndarray:
    return images.images.flatten(1).numpy().astype(np.float64) / 255


def knn(known, labels, asked) -> np.ndarray:
    """Vote with weights exp(cosine / 0.1) of the 20 nearest, by brute force."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (known, asked)]
    similarity = unit[1] @ unit[0].T
    winners = []
    for row in similarity:
        near = np.argsort(-row)[:20]
        votes = [np.exp(row[near][labels[near] == c] / 0.1).sum() for c in range(3)]
        winners.append(int(np.argmax(votes)))
    return np.array(winners)


def changed(known: np.ndarray, asked: np.ndarray, mask: np.ndarray, order: np.ndarray):
    """Return both sets in each reading."""
    mean, deviation = known.mean(0), known.std(0, ddof=1)
    covariance = np.cov(known.T, bias=True)
    shrunk = 0.99 * covariance + 0.01 * np.trace(covariance) / D * np.eye(D)
    values, vectors = np.linalg.eigh(shrunk)
    white = vectors @ np.diag(values**-0.5) @ vectors.T
    ways = {
        "whole": lambda x: x,
        "standardized": lambda x: (x - mean) / deviation,
        "whitened": lambda x: (x - mean) @ white,
        "masked": lambda x: x * mask,
        "shuffled": lambda x: x * mask[order],
        "whitened, masked": lambda x: (x - mean) @ white * mask,
    }
    return {name: (way(known), way(asked)) for name, way in ways.items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_reading_by_each_reader_is_what_other_code_finds(seed):
    encoder, train_set, test_set = data(seed)
    mask = torch.rand(D, generator=torch.Generator().manual_seed(seed + 10)) * 0.9 + 0.05
    found = read(encoder, mask, train_set, test_set, seed)
    order = torch.randperm(D, generator=torch.Generator().manual_seed(seed)).numpy()
    labels, truth = train_set.labels.numpy(), test_set.labels.numpy()
    known, asked = features(train_set), features(test_set)
    ways = changed(known, asked, mask.double().numpy(), order)
    assert list(found["readings"]["kNN"]) == list(ways)
    for name, (h, fresh) in ways.items():
        accuracy = (knn(h, labels, fresh) == truth).mean()
        # float32 may turn the vote of an image whose classes are as near
        assert found["readings"]["kNN"][name] == pytest.approx(accuracy, abs=1.5 / M), name
        scale = 1 / np.sqrt(h.var(0, ddof=1).mean())
        # scikit-learn's C weighs the sum of losses against ‖W‖²/2, ours the mean
        probe = LogisticRegression(C=1 / (1e-3 * N), tol=1e-8, max_iter=5000)
        probe.fit((h - h.mean(0)) * scale, labels)
        accuracy = probe.score((fresh - h.mean(0)) * scale, truth)
        assert found["readings"]["probe"][name] == pytest.approx(accuracy, abs=1.5 / M), name


def test_a_mask_of_one_size_changes_nothing_and_a_common_factor_neither():
    encoder, train_set, test_set = data(3)
    found = read(encoder, torch.full((D,), 0.37), train_set, test_set, seed=0)
    for reader, by_reading in found["readings"].items():
        # where rounding may turn one image
        assert by_reading["masked"] == pytest.approx(by_reading["whole"], abs=1.5 / M), reader
        assert by_reading["shuffled"] == pytest.approx(by_reading["masked"], abs=1.5 / M)
    assert found["mask"]["class R²"] is None
    assert found["mask"]["least"] == found["mask"]["greatest"] == 0.37


def test_the_mask_is_followed_to_what_it_goes_by():
    encoder, train_set, test_set = data(4)
    h = torch.from_numpy(features(train_set)).float()
    deviation = h.std(0)
    mask = deviation / deviation.max()
    found = read(encoder, mask, train_set, test_set, seed=0)["mask"]
    assert found["deviation"] == 1.0
    of_class = [
        np.var([h[train_set.labels == c, d].mean() for c in range(3)]) / h[:, d].numpy().var()
        for d in range(D)
    ]
    expected = np.corrcoef(mask, of_class)[0, 1]
    assert found["class R²"] == pytest.approx(expected, abs=1e-3)  # the line's five digits
    assert -1 <= found["nuisance R²"] <= 1
    plain = ImageSet(train_set.images, train_set.labels, train_set.classes)
    assert "nuisance R²" not in read(encoder, mask, plain, test_set, seed=0)["mask"]


def test_without_a_mask_there_are_three_readings():
    encoder, train_set, test_set = data(5)
    found = read(encoder, None, train_set, test_set, seed=0)
    assert "mask" not in found
    for by_reading in found["readings"].values():
        assert list(by_reading) == ["whole", "standardized", "whitened"]
    assert 1 <= found["effective rank"] <= D


def test_tuning_reads_the_same_by_knn_alone():
    encoder, train_set, test_set = data(6)
    mask = torch.linspace(0.1, 0.9, D)
    whole = read(encoder, mask, train_set, test_set, seed=2)["readings"]["kNN"]
    found = read_for_tuning(encoder, mask, train_set, test_set, seed=2)["readings"]
    assert found == {"kNN": {name: whole[name] for name in ("whole", "masked", "shuffled")}}


def test_a_collapsed_representation_is_refused():
    _, train_set, test_set = data(7)

    class Constant(nn.Module):
        def forward(self, x):
            return x.new_ones(len(x), D)

    for reads in (read, read_for_tuning):
        with pytest.raises(CollapseError, match="the same for every image"):
            reads(Constant(), None, train_set, test_set, seed=0)
