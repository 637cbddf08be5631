"""Make `fashion.npz`, the shipped subset of Fashion-MNIST, from the four original files.

    python -m mmlite.datasets.make_fashion /usr/share/datasets/fashion-mnist

The folder holds Zalando's files (`train-images-idx3-ubyte.gz` and so on; Debian's package
`dataset-fashion-mnist` installs them). The subset is the first 1,000 training and the first 200
test images of each class, in their original order; their positions in the original files are kept
beside them, so that anyone can hold the subset against the original.
"""

import argparse
import gzip
import hashlib
from pathlib import Path

import numpy as np

PER_CLASS = {"train": 1000, "test": 200}
PREFIX = {"train": "train", "test": "t10k"}
TARGET = Path(__file__).with_name("fashion.npz")


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes (format: http://yann.lecun.com/exdb/mnist)."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    rank = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the positions [10 * count] of the first `count` images of each class, in order."""
    firsts = [np.flatnonzero(labels == label)[:count] for label in range(10)]
    return np.sort(np.concatenate(firsts))


def subset(source: Path, split: str) -> dict[str, np.ndarray]:
    """Return the subset of one split: images, labels and positions in the original files."""
    images = read_idx(source / f"{PREFIX[split]}-images-idx3-ubyte.gz")
    labels = read_idx(source / f"{PREFIX[split]}-labels-idx1-ubyte.gz")
    index = first_of_each_class(labels, PER_CLASS[split])
    return {
        f"{split}_images": images[index],
        f"{split}_labels": labels[index],
        f"{split}_index": index.astype(np.int32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with the four original .gz files")
    source = parser.parse_args().source
    arrays = subset(source, "train") | subset(source, "test")
    np.savez_compressed(TARGET, **arrays)  # type: ignore[arg-type]  # no array is `allow_pickle`
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")
    print(f"sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
