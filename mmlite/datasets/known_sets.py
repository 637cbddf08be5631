"""Published sets by name, as torchvision or their folders have them: images, labels, classes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmlite.datasets import tiny_imagenet

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def _fashion_mnist(root: Path, split: str, download: bool):
    from torchvision.datasets import FashionMNIST

    source = FashionMNIST(root, train=split == "train", download=download)
    return source.data.numpy()[:, None], source.targets, FASHION_CLASSES


def _cifar(root: Path, split: str, download: bool, kind: str):
    from torchvision import datasets

    source = getattr(datasets, kind)(root, train=split == "train", download=download)
    return source.data.transpose(0, 3, 1, 2), source.targets, source.classes


def _stl10(root: Path, split: str, download: bool):
    from torchvision.datasets import STL10

    source = STL10(root, split=split, download=download)
    return source.data, source.labels, source.classes


SOURCES: dict[str, Callable] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": partial(_cifar, kind="CIFAR10"),
    "cifar100": partial(_cifar, kind="CIFAR100"),
    "stl10": _stl10,
    "tiny-imagenet": lambda root, split, download: tiny_imagenet.read(root, split),
}
