"""The shipped images against the originals, what a set of images does, and the device."""

import gzip
import io
import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from samples import small_set

import mmlite
from mmlite import data
from mmlite.data import DataError, ImageSet, balanced_subset, load, plant_background

ORIGINALS = Path(os.environ.get("MMLITE_FASHION_ORIGINALS", "/usr/share/datasets/fashion-mnist"))


def test_shipped_sets_are_balanced_and_complete():
    for split, count in (("train", 10_000), ("test", 2_000)):
        images = load("fashion", split)
        assert images.images.shape == (count, 1, 28, 28)
        assert images.images.dtype == torch.uint8
        assert images.labels.bincount().tolist() == [count // 10] * 10


def test_shipped_file_is_small_and_licensed():
    folder = resources.files("mmlite") / "datasets"
    assert len((folder / "fashion.npz").read_bytes()) <= 6_000_000
    assert "MIT" in (folder / "LICENSE-fashion-mnist").read_text(encoding="utf-8")


@pytest.mark.skipif(
    not ORIGINALS.exists(),
    reason="Debian's dataset-fashion-mnist is not here; on Debian and Ubuntu, apt-get install it",
)
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_shipped_images_are_the_originals(split, prefix):
    # read here without the script that made the subset: 16 and 8 bytes of header, then pixels
    pixels = gzip.decompress((ORIGINALS / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((ORIGINALS / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
    raw = (resources.files("mmlite") / "datasets" / "fashion.npz").read_bytes()
    index = np.load(io.BytesIO(raw))[f"{split}_index"]
    shipped = load("fashion", split)
    originals = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)[index]
    assert len(set(index.tolist())) == len(index)
    assert np.array_equal(shipped.images[:, 0].numpy(), originals)
    assert np.array_equal(shipped.labels.numpy(), np.frombuffer(labels, np.uint8)[index])


@pytest.mark.parametrize("damage", ["cut short", "a byte changed", "missing"])
def test_a_damaged_shipped_file_is_named_with_its_mend(tmp_path, monkeypatch, damage):
    folder = tmp_path / "datasets"
    folder.mkdir()
    raw = (resources.files("mmlite") / "datasets" / "fashion.npz").read_bytes()
    if damage == "cut short":
        (folder / "fashion.npz").write_bytes(raw[:1000])
    if damage == "a byte changed":
        (folder / "fashion.npz").write_bytes(raw[:-9] + b"x" + raw[-8:])
    monkeypatch.setattr(data.resources, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match=r"fashion\.npz.*install mmlite again"):
        load("fashion", "train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist", "train"), "no data set 'mnist'; the sets are: fashion, "),
        (("fashion", "valid"), "fashion has no split 'valid'; its splits are: train, test"),
        (
            ("fashion", "test", 0),
            "size must be a whole number from 1 to 2,000, got 0|size must be a whole number of at",
        ),
        (("fashion", "test", 2001), "size must be a whole number from 1 to 2,000, got 2001"),
    ],
)
def test_load_says_what_it_wants(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(*arguments)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_a_subset_is_balanced_random_and_repeatable(size, seed):
    labels = torch.tensor([0] * 12 + [1] * 10 + [2] * 8)
    images = torch.arange(30, dtype=torch.uint8)[:, None, None, None].expand(30, 1, 2, 2)
    whole = ImageSet(images, labels, ("a", "b", "c"))
    subset = balanced_subset(whole, size, seed)
    kept = subset.images[:, 0, 0, 0].tolist()
    assert len(set(kept)) == size  # no image twice
    assert torch.equal(subset.labels, labels[kept])
    counts = subset.labels.bincount(minlength=3)
    if size <= 24:  # every class has that many
        assert int(counts.max() - counts.min()) <= 1
    assert balanced_subset(whole, size, seed).images[:, 0, 0, 0].tolist() == kept


def test_image_set_behaves_like_a_sequence():
    images = small_set()
    for index in (4, np.int64(4), torch.tensor(4)):
        image, label = images[index]
        assert torch.equal(image, images.images[4])
        assert label == 1
    for index in (slice(1, 3), [1, 2], torch.tensor([1, 2])):
        part = images[index]
        assert len(part) == 2
        assert torch.equal(part.images, images.images[1:3])
    assert repr(images) == "ImageSet(small: 6 images 1×8×8, 3 classes, on cpu)"
    planted = plant_background(images, 0.5)
    assert repr(planted).endswith("3×8×8, 3 classes, nuisance [30], on cpu)")
    assert torch.equal(planted[2:4].nuisance, planted.nuisance[2:4])


def test_image_set_moves_as_a_whole():
    moved = plant_background(small_set(), 0.5).to("meta")
    assert moved.device.type == moved.labels.device.type == moved.nuisance.device.type == "meta"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(6, 1, 8, 8)}, "images must be uint8 of shape"),
        ({"images": torch.zeros(6, 8, 8, dtype=torch.uint8)}, "images must be uint8 of shape"),
        ({"images": torch.zeros(6, 8, 8, 1, dtype=torch.uint8)}, "have their channels last"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, r"labels must be int64 of shape \[6\]"),
        ({"labels": torch.zeros(6)}, "labels must be int64"),
        ({"labels": [0] * 6}, "labels must be a tensor, got list"),
        ({"labels": torch.arange(6)}, "labels must be -1 .* to 2, .* got 0 to 5"),
        ({"labels": torch.arange(6) % 3 - 2}, "labels must be -1 .* to 2, .* got -2 to 0"),
        ({"labels": torch.zeros(6).long().to("meta")}, "images lie on cpu, labels on meta"),
        ({"nuisance": torch.zeros(5, 2)}, r"nuisance must be float of shape \[6, K\]"),
        ({"nuisance": torch.zeros(6)}, r"nuisance must be float of shape \[6, K\]"),
        ({"nuisance": torch.zeros(6, 2).long()}, r"nuisance must be float .* got torch.int64"),
        ({"nuisance": torch.zeros(6, 2, device="meta")}, "images lie on cpu, nuisance on meta"),
    ],
)
def test_image_set_refuses_what_does_not_fit(change, message):
    whole = small_set()
    given_ = {"images": whole.images, "labels": whole.labels, "classes": whole.classes}
    with pytest.raises(ValueError, match=message):
        ImageSet(**(given_ | change))


def test_device_follows_the_variable(monkeypatch):
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")
    assert mmlite.device() == torch.device("cpu")
    monkeypatch.setenv("MMLITE_DEVICE", "meta")
    assert mmlite.device().type == "meta"


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_device_prefers_cuda_then_mps(monkeypatch, cuda, mps, wanted):
    monkeypatch.delenv("MMLITE_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert mmlite.device().type == wanted


@pytest.mark.parametrize("wanted", ["gpu", "cuda:99", "cpu:x", "mps:7"])
def test_an_odd_device_is_refused_in_a_sentence(monkeypatch, wanted):
    monkeypatch.setenv("MMLITE_DEVICE", wanted)
    with pytest.raises(ValueError, match=f"MMLITE_DEVICE must be a device of .*'{wanted}'"):
        mmlite.device()
