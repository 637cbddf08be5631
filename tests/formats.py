"""Small files in the formats of torchvision's sets."""

import hashlib
import pickle
from pathlib import Path

import numpy as np


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
