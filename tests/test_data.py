"""The shipped images against the originals, torchvision's formats from small files, the texture."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import tarfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

import mmlite
from mmlite import data
from mmlite.data import DataError, ImageSet, balanced_subset, load, plant_background

ORIGINALS = Path(os.environ.get("MMLITE_FASHION_ORIGINALS", "/usr/share/datasets/fashion-mnist"))


def small_set(count: int = 6, channels: int = 1) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 8), generator=generator)
    return ImageSet(images.to(torch.uint8), torch.arange(count) % 3, ("a", "b", "c"), "small")


# the shipped subset


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


# ImageSet


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


# the device


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


# the planted background


def cosine_texture(nuisance: np.ndarray, height: int, width: int) -> np.ndarray:
    """Build one image's texture [3, H, W] by loops from the definition."""
    texture = np.full((3, height, width), 0.5)
    for color in range(3):
        for i in range(3):
            for j in range(3):
                a = nuisance[9 * color + 3 * i + j]
                scale = (np.sqrt(2) if i else 1) * (np.sqrt(2) if j else 1)
                for r in range(height):
                    for c in range(width):
                        wave = np.cos(np.pi * i * (r + 0.5) / height)
                        wave *= np.cos(np.pi * j * (c + 0.5) / width)
                        texture[color, r, c] += a * scale * wave
    return texture.clip(0, 1)


def test_background_is_the_texture_that_the_nuisance_describes():
    black = ImageSet(
        torch.zeros(3, 1, 6, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), ("a",)
    )
    planted = plant_background(black, strength=0.8, seed=3)
    for image, nuisance in zip(planted.images, planted.nuisance, strict=True):
        expected = 255 * 0.8 * cosine_texture(nuisance.numpy(), 6, 8)
        # rounding to a byte, and float32 just at the boundary between two
        assert np.abs(image.numpy() - expected).max() <= 0.5 + 1e-3


def test_a_white_garment_hides_the_background_behind_its_tint():
    white = ImageSet(
        torch.full((50, 1, 4, 4), 255, dtype=torch.uint8),
        torch.zeros(50, dtype=torch.int64),
        ("a",),
    )
    planted = plant_background(white, strength=1.0)
    flat = planted.images.flatten(2)
    assert torch.equal(flat, flat[..., :1].expand_as(flat))  # one color
    assert int(flat.min()) >= 0.4 * 255 - 1
    assert len(flat[..., 0].unique(dim=0)) > 40  # of its own each
    told = 255 * planted.nuisance[:, 27:]  # the tint stands at the end of what is known
    assert float((flat[..., 0] - told).abs().max()) <= 0.5 + 1e-3


def test_background_is_repeatable_and_differs_between_splits_and_images():
    images = small_set()
    first, again = plant_background(images, 0.5, seed=1), plant_background(images, 0.5, seed=1)
    assert torch.equal(first.images, again.images)
    other = plant_background(images, 0.5, seed=2)
    assert not torch.equal(first.nuisance, other.nuisance)
    named = ImageSet(images.images, images.labels, images.classes, "other split")
    assert not torch.equal(first.nuisance, plant_background(named, 0.5, seed=1).nuisance)
    assert len(first.nuisance.unique(dim=0)) == len(images)


def test_strength_0_is_black_behind_the_garment():
    images = small_set()
    images = ImageSet(images.images * 0, images.labels, images.classes)
    assert int(plant_background(images, 0.0).images.max()) == 0


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(strength):
    with pytest.raises(ValueError, match="strength must be a number from 0 to 1, got"):
        plant_background(small_set(), strength)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="image_set must have images of 1 or 3 channels, got 2"):
        plant_background(small_set(channels=2), 0.5)


# torchvision's formats, from small files written here


def random_images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar(root: Path, kind: str, monkeypatch) -> np.ndarray:
    from torchvision import datasets

    source = getattr(datasets, kind)
    folder = root / source.base_folder
    folder.mkdir(parents=True)
    images = random_images(6, 32)
    key, names = (
        ("labels", "label_names") if kind == "CIFAR10" else ("fine_labels", "fine_label_names")
    )
    batches = {
        "train_list": [("one", images[:4], [3, 1, 4, 1])],
        "test_list": [("two", images[4:], [5, 9])],
    }
    for attribute, parts in batches.items():
        listed = []
        for name, pixels, labels in parts:
            (folder / name).write_bytes(
                pickle.dumps({"data": pixels.reshape(-1, 3072), key: labels})
            )
            listed.append([name, md5(folder / name)])
        monkeypatch.setattr(source, attribute, listed)
    meta = dict(source.meta)
    (folder / meta["filename"]).write_bytes(
        pickle.dumps({names: [f"class {i}" for i in range(10)]})
    )
    monkeypatch.setattr(source, "meta", meta | {"md5": md5(folder / meta["filename"])})
    return images


@pytest.mark.parametrize(("name", "kind"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_from_files_of_its_format(tmp_path, monkeypatch, name, kind):
    images = write_cifar(tmp_path, kind, monkeypatch)
    train, test = load(name, "train", root=tmp_path), load(name, "test", root=tmp_path)
    assert np.array_equal(train.images.numpy(), images[:4])
    assert train.labels.tolist() == [3, 1, 4, 1]
    assert np.array_equal(test.images.numpy(), images[4:])
    assert train.classes[3] == "class 3"


def test_a_damaged_cifar_file_is_refused_with_the_mend(tmp_path, monkeypatch):
    write_cifar(tmp_path, "CIFAR10", monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "one").write_bytes(b"not a batch")
    with pytest.raises(DataError, match=r"cifar10 is missing or damaged in .*download=True"):
        load("cifar10", "train", root=tmp_path)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def test_full_fashion_mnist_from_files_of_its_format(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    images = random_images(5, 28)[:, 0]
    labels = np.array([7, 0, 9, 2, 2], dtype=np.uint8)
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    loaded = load("fashion-mnist", "test", root=tmp_path)
    assert np.array_equal(loaded.images[:, 0].numpy(), images)
    assert loaded.labels.tolist() == labels.tolist()
    assert loaded.classes == data.FASHION_CLASSES


def write_stl10(tmp_path: Path, monkeypatch, labels: bytes) -> np.ndarray:
    from torchvision.datasets import STL10

    folder = tmp_path / STL10.base_folder
    folder.mkdir()
    images = random_images(3, 96)
    # the format stores columns before rows, and counts classes from 1
    stored = images.transpose(0, 1, 3, 2).tobytes()
    names = "\n".join(f"class {i}" for i in range(10))
    files = {
        "train_X.bin": stored,
        "train_y.bin": labels,
        "test_X.bin": stored,
        "test_y.bin": bytes([2, 2, 2]),
        "unlabeled_X.bin": stored,
        "class_names.txt": names.encode(),
        "fold_indices.txt": b"",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    listed = {
        "train_list": ["train_X.bin", "train_y.bin", "unlabeled_X.bin", "class_names.txt"],
        "test_list": ["test_X.bin", "test_y.bin"],
    }
    for attribute, named in listed.items():
        monkeypatch.setattr(STL10, attribute, [[name, md5(folder / name)] for name in named])
    return images


def test_stl10_from_files_of_its_format(tmp_path, monkeypatch):
    images = write_stl10(tmp_path, monkeypatch, labels=bytes([1, 10, 4]))
    train = load("stl10", "train", root=tmp_path)
    assert np.array_equal(train.images.numpy(), images)
    assert train.labels.tolist() == [0, 9, 3]
    assert load("stl10", "unlabeled", root=tmp_path).labels.tolist() == [-1] * 3


def write_tiny_imagenet(root: Path) -> None:
    folder = root / "tiny-imagenet-200"
    wnids = ["n02", "n01"]
    for wnid in wnids:
        (folder / "train" / wnid / "images").mkdir(parents=True)
        shade = 200 if wnid == "n01" else 50
        for i in range(2):
            image = Image.new("RGB" if i else "L", (64, 64), (shade,) * 3 if i else shade)
            image.save(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG")
    (folder / "val" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64), (200,) * 3).save(folder / "val" / "images" / "val_0.JPEG")
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\t0\t0\t63\t63\n")
    (folder / "wnids.txt").write_text("\n".join(wnids))
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tshark\n")


def test_tiny_imagenet_from_files_of_its_format(tmp_path):
    write_tiny_imagenet(tmp_path)
    train = load("tiny-imagenet", "train", root=tmp_path)
    assert train.images.shape == (4, 3, 64, 64)  # the gray image became color
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert train.classes == ("shark", "goldfish")
    assert train.images.float().mean((1, 2, 3)).round().tolist() == [50, 50, 200, 200]
    assert load("tiny-imagenet", "test", root=tmp_path).labels.tolist() == [1]


def lose_a_class(folder):
    shutil.rmtree(folder / "train" / "n01")


def empty_a_class(folder):
    for path in (folder / "train" / "n01" / "images").iterdir():
        path.unlink()


def lose_the_last_image(folder):
    (folder / "train" / "n01" / "images" / "n01_1.JPEG").unlink()


def lose_the_first_image_of_each(folder):
    for wnid in ("n01", "n02"):
        (folder / "train" / wnid / "images" / f"{wnid}_0.JPEG").unlink()


def lose_the_last_image_of_each_that_has_a_box(folder):
    for wnid in ("n01", "n02"):
        boxes = "".join(f"{wnid}_{i}.JPEG\t0\t0\t9\t9\n" for i in range(2))
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
        (folder / "train" / wnid / "images" / f"{wnid}_1.JPEG").unlink()


def lose_a_name(folder):
    (folder / "words.txt").write_text("n02\tshark\n")


def lose_an_id(folder):
    (folder / "wnids.txt").write_text("n02")


def name_a_class_twice(folder):
    (folder / "wnids.txt").write_text("n02\nn01\nn02")


def lose_a_validation_image(folder):
    (folder / "val" / "images" / "val_0.JPEG").unlink()


def lose_an_annotation(folder):
    (folder / "val" / "images" / "val_1.JPEG").write_bytes(b"")


def annotate_a_class_that_is_not_there(folder):
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn77\t0\t0\t63\t63\n")


def damage_the_annotations(folder):
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG")


@pytest.mark.parametrize(
    ("damage", "split", "message"),
    [
        (lose_a_class, "train", r"1 of the 2 classes of wnids.txt have no folder in .*\(n01\)"),
        (empty_a_class, "train", r"1 of the 2 classes in .* has 2, and some \(n01 \(0\)\)"),
        (lose_the_last_image, "train", r"the fullest has 2, and some \(n01 \(1\)\)"),
        (lose_the_first_image_of_each, "train", r"2 of the 2 classes .*\(n02 \(1\), n01 \(1\)\)"),
        (
            lose_the_last_image_of_each_that_has_a_box,
            "train",
            "2 of the 2 classes in .* lack images",
        ),
        (
            lose_a_name,
            "train",
            r"1 of the 2 classes of wnids.txt have no name in .*words.txt \(n01",
        ),
        (lose_a_name, "test", "have no name in"),
        (lose_an_id, "train", r"1 of the 2 folders in .* are no class of wnids.txt \(n01\)"),
        (lose_an_id, "test", r"1 classes of .*annotations.txt are not among the 1 of .*\(n01\)"),
        (name_a_class_twice, "train", "names n02 twice"),
        (
            lose_a_validation_image,
            "test",
            r"1 of the 1 images of val_annotations.txt are not in .*",
        ),
        (
            lose_an_annotation,
            "test",
            r"1 of the 2 images in .* are not in val_annotations.txt \(val",
        ),
        (annotate_a_class_that_is_not_there, "test", r"not among the 2 of wnids.txt \(n77\)"),
        (damage_the_annotations, "test", "val_annotations.txt is empty or damaged"),
    ],
)
def test_a_tiny_imagenet_that_is_not_whole_is_refused(tmp_path, damage, split, message):
    write_tiny_imagenet(tmp_path)
    damage(tmp_path / "tiny-imagenet-200")
    with pytest.raises(DataError, match=message):
        load("tiny-imagenet", split, root=tmp_path)


def test_what_macos_writes_beside_files_is_passed_over(tmp_path):
    write_tiny_imagenet(tmp_path)
    folder = tmp_path / "tiny-imagenet-200"
    for name in ("train/n01/images/._n01_0.JPEG", "val/images/._val_0.JPEG", "train/._n01"):
        (folder / name).write_bytes(b"Mac OS X")
    (folder / "train" / "__MACOSX").mkdir()
    assert len(load("tiny-imagenet", "train", root=tmp_path)) == 4
    assert len(load("tiny-imagenet", "test", root=tmp_path)) == 1


@pytest.mark.parametrize(
    ("images", "labels"),
    [(5, [0, 1, 2, 3]), (3, [0, 1, 2, 3]), (4, [0, 1, 2, 10]), (4, [0, 1, 2, 255])],
)
def test_images_and_labels_that_do_not_fit_are_refused(tmp_path, images, labels):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", random_images(images, 28)[:, 0])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.array(labels, dtype=np.uint8))
    with pytest.raises(DataError, match=r"fashion-mnist is missing or damaged .*labels must be"):
        load("fashion-mnist", "train", root=tmp_path)


def test_an_idx_file_cut_short_is_refused(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", random_images(4, 28)[:, 0])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.zeros(4, dtype=np.uint8))
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="fashion-mnist is missing or damaged"):
        load("fashion-mnist", "train", root=tmp_path)


def test_a_cifar_with_a_batch_missing_is_refused(tmp_path, monkeypatch):
    write_cifar(tmp_path, "CIFAR10", monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "one").unlink()
    for split in ("train", "test"):
        with pytest.raises(DataError, match="cifar10 is missing or damaged"):
            load("cifar10", split, root=tmp_path)


def test_a_label_below_the_first_class_is_refused(tmp_path, monkeypatch):
    from torchvision.datasets import STL10

    write_stl10(tmp_path, monkeypatch, labels=bytes([1, 0, 4]))
    with pytest.raises(DataError, match=r"stl10 is missing or damaged .*labels must be"):
        load("stl10", "train", root=tmp_path)
    path = tmp_path / STL10.base_folder / "test_X.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="stl10 is missing or damaged"):
        load("stl10", "test", root=tmp_path)


def test_a_root_may_begin_with_a_tilde(tmp_path, monkeypatch):
    write_tiny_imagenet(tmp_path / "sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(load("tiny-imagenet", "test", root="~/sets")) == 1
    monkeypatch.setenv("MMLITE_DATA", "~/sets")
    assert len(load("tiny-imagenet", "test")) == 1


def test_a_damaged_image_is_named(tmp_path):
    write_tiny_imagenet(tmp_path)
    path = tmp_path / "tiny-imagenet-200" / "train" / "n01" / "images" / "n01_1.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"n01_1\.JPEG is missing or damaged"):
        load("tiny-imagenet", "train", root=tmp_path)


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100", "stl10", "tiny-imagenet"])
def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch, name):
    monkeypatch.setenv("MMLITE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=rf"{name} is missing or damaged in .*nowhere.*MMLITE_DATA"):
        load(name, "train")


def test_reading_a_truncated_tar_of_cifar_does_not_leave_a_traceback_alone(tmp_path):
    # a download that broke off: torchvision finds an archive, but no files
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match="cifar10 is missing or damaged"):
        load("cifar10", "train", root=tmp_path)
