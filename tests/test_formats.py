"""Torchvision's sets, from small files of their formats written here."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from formats import md5, random_images, write_cifar
from PIL import Image

from mmlite import data
from mmlite.data import DataError, load


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
