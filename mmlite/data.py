"""Images on a device.

`load` gives a whole data set as one tensor of bytes, so that batches and views never leave the
device. `plant_background` composes each image over a random texture of its own: a confounder whose
truth is known, because `nuisance` holds the numbers that made it.
"""

import hashlib
import io
import math
import os
import zlib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmlite.datasets import DataError
from mmlite.datasets.folder import read_folder
from mmlite.datasets.known_sets import FASHION_CLASSES, SOURCES
from mmlite.support import checks
from mmlite.support.errors import first_line

FASHION_SHA256 = "5bd2701e11b038dd60d4e3bcc3fc9ceeb63d7b754fc80b75cfd492899a5d1a00"
TEXTURE_FREQUENCIES = 3  # cosines of 0, 1 and 2 half-waves along each axis: 9 smooth modes


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, on one device.

    Attributes:
        images: uint8 [N, C, H, W].
        labels: int64 [N].
        classes: the classes' names; label `i` means `classes[i]`. A label of -1 means unlabeled.
        name: where the images come from.
        nuisance: float32 [N, K], what is known of each image beside its class, or None.

    Raises:
        ValueError: a tensor has another type, shape or device, or a label has no class. (Labels
            are checked on a CPU only: on a GPU that would wait for it.)

    Example:
        >>> pixels = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
        >>> len(mmlite.ImageSet(pixels, torch.tensor([0, 1, 1, 0]), ("shirt", "boot")))
        4
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str = "images"
    nuisance: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("images", "labels", "nuisance"):
            value = getattr(self, name)
            if not isinstance(value, Tensor) and (value is not None or name != "nuisance"):
                raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
            if value is not None and value.device != self.images.device:
                raise ValueError(
                    f"images lie on {self.images.device}, {name} on {value.device}; `.to(device)` "
                    "of the set moves all"
                )
        checks.text("name", self.name)
        if not isinstance(self.classes, (tuple, list)) or not all(
            isinstance(name, str) for name in self.classes
        ):
            raise checks.wrong("classes", "a tuple of names, a string each", self.classes)
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise ValueError(
                f"images must be uint8 of shape [N, C, H, W], "
                f"got {self.images.dtype} of shape {list(self.images.shape)}"
            )
        checks.channels_first("images", self.images)
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 of shape [{len(self.images)}], one for each image, "
                f"got {self.labels.dtype} of shape {list(self.labels.shape)}"
            )
        if self.labels.numel() and self.device.type == "cpu":
            low, high = (int(value) for value in self.labels.aminmax())
            if low < -1 or high >= len(self.classes):
                raise ValueError(
                    f"labels must be -1 (unlabeled) to {len(self.classes) - 1}, one less than "
                    f"there are classes, got {low} to {high}"
                )
        nuisance = self.nuisance
        if nuisance is not None and (
            not checks.is_float(nuisance)
            or nuisance.dim() != 2
            or len(nuisance) != len(self.images)
        ):
            raise ValueError(
                f"nuisance must be float of shape [{len(self.images)}, K], one row for each image, "
                f"got {nuisance.dtype} of shape {list(nuisance.shape)}"
            )

    @classmethod
    def from_folder(
        cls, path: str | Path, size: int | None = None, *, channels: int = 3
    ) -> "ImageSet":
        """Return the images of a folder, whose subfolders are the classes, on the CPU.

        Any common format is read (PNG, JPEG, WebP, TIFF, BMP, GIF, PGM; of 16 bits the upper 8,
        floats in 0..1 times 255), turned as its camera says. What cannot be read is left out, and a
        `DataWarning` names it. Without subfolders the images have no labels (-1).

        Args:
            path: the folder.
            size: H = W; the shorter side is brought to it and the middle kept. By default images
                are taken as they are, and have to be of one size.
            channels: 3 for color, 1 for gray.

        Raises:
            ValueError: an argument is out of its range.
            DataError: there is no such folder or no image in it, or the sizes differ.

        Example:
            >>> mmlite.ImageSet.from_folder("pets/train", size=32)  # doctest: +SKIP
            ImageSet(train: 7,349 images 3×32×32, 37 classes, on cpu)
        """
        root = checks.path("path", path)
        size = None if size is None else checks.whole("size", size, 1)
        if checks.whole("channels", channels, 1, 3) == 2:
            raise checks.wrong("channels", "3 or 1", channels)
        images, labels, classes = read_folder(root, size, channels)
        return cls(
            torch.from_numpy(images),
            torch.tensor(labels, dtype=torch.int64),
            classes,
            root.resolve().name or "images",
        )

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        """`[int]` gives (image uint8 [C, H, W], label); a slice, list or tensor an `ImageSet`."""
        if isinstance(index, Tensor) and index.dim() == 0 and index.dtype != torch.bool:
            index = int(index)
        kinds = (int, np.integer, slice, list, range, np.ndarray, Tensor)
        if isinstance(index, bool) or not isinstance(index, kinds):
            raise checks.wrong(
                "index", "a whole number, a slice, or a list or tensor of whole numbers", index
            )
        if isinstance(index, (list, range, np.ndarray)):
            index = _places(index)
        if isinstance(index, Tensor) and (index.is_floating_point() or index.dim() != 1):
            raise checks.wrong("index", "a tensor of whole numbers or of truth values, [M]", index)
        if isinstance(index, (int, np.integer)):
            return self.images[index], int(self.labels[index])
        nuisance = None if self.nuisance is None else self.nuisance[index]
        return replace(
            self, images=self.images[index], labels=self.labels[index], nuisance=nuisance
        )

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the same images on `device`.

        Raises:
            ValueError: this machine has no such device.
        """
        device = torch.device("meta") if str(device) == "meta" else checks.device("device", device)
        nuisance = None if self.nuisance is None else self.nuisance.to(device)
        return replace(
            self, images=self.images.to(device), labels=self.labels.to(device), nuisance=nuisance
        )

    def __repr__(self) -> str:
        shape = "×".join(str(n) for n in self.images.shape[1:])
        known = "" if self.nuisance is None else f", nuisance [{self.nuisance.shape[1]}]"
        return (
            f"ImageSet({self.name}: {len(self):,} images {shape}, "
            f"{len(self.classes)} classes{known}, on {self.device})"
        )


def load(
    name: str,
    split: str,
    size: int | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    download: bool = False,
) -> ImageSet:
    """Load a data set onto the CPU; `.to(mmlite.device())` moves it.

    Args:
        name: "fashion" (shipped with the package: 10,000 + 2,000 images), or one of
            "fashion-mnist", "cifar10", "cifar100", "stl10", "tiny-imagenet".
        split: "train" or "test"; "stl10" also has "unlabeled".
        size: how many images to take, the classes as equal as they can be; all of them by default.
        seed: which ones, when `size` is given.
        root: the folder that holds the downloaded sets; by default `MMLITE_DATA`, else `data`.
        download: let torchvision fetch a set that is not there yet.

    Raises:
        ValueError: an unknown name or split, or a size that the set does not have.
        DataError: a file is missing or damaged.

    Example:
        >>> images = mmlite.load("fashion", "train", size=100)
        >>> images.images.shape, images.classes[0]
        (torch.Size([100, 1, 28, 28]), 'T-shirt/top')
    """
    checks.text("name", name)
    checks.text("split", split)
    size = None if size is None else checks.whole("size", size, 1)
    seed, download = checks.seed(seed), checks.flag("download", download)
    if name != "fashion" and name not in SOURCES:
        known = ", ".join(["fashion", *SOURCES])
        raise ValueError(f"there is no data set {name!r}; the sets are: {known}")
    splits = ("train", "test", "unlabeled") if name == "stl10" else ("train", "test")
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; its splits are: {', '.join(splits)}")
    if name == "fashion":
        whole = _load_shipped(split)
    else:
        told = os.environ.get("MMLITE_DATA") or "data"
        folder = checks.path("MMLITE_DATA", told) if root is None else checks.path("root", root)
        whole = _load_from_folder(name, split, folder, download)
    return whole if size is None else balanced_subset(whole, size, seed)


def balanced_subset(image_set: ImageSet, size: int, seed: int = 0) -> ImageSet:
    """Return `size` random images in random order, the classes as equal as they can be.

    Raises:
        ValueError: `size` is not between 1 and the number of images.
    """
    check_image_set("image_set", image_set)
    size = checks.whole("size", size, 1, len(image_set))
    generator = torch.Generator().manual_seed(checks.seed(seed))
    order = torch.randperm(len(image_set), generator=generator)
    labels = image_set.labels.cpu()[order]
    # An image's place among the shuffled images of its class: taking the lowest places first
    # takes the classes in turn.
    place = torch.empty_like(labels)
    for label in labels.unique():
        members = labels == label
        place[members] = torch.arange(int(members.sum()))
    chosen = order[place.argsort(stable=True)[:size]]
    shuffled = chosen[torch.randperm(size, generator=generator)]
    return image_set[shuffled.to(image_set.device)]


def check_image_set(name: str, value: ImageSet) -> None:
    """Raise a ValueError unless a value is an `ImageSet`."""
    checks.instance(name, value, ImageSet, "an ImageSet, as mmlite.load returns")


def _places(index) -> Tensor:
    """Return an index of several images as a tensor."""
    try:
        return torch.as_tensor(np.asarray(index, dtype=None if len(index) else np.int64))
    except (TypeError, ValueError) as error:
        raise checks.wrong("index", "whole numbers or truth values", index) from error


def _load_shipped(split: str) -> ImageSet:
    path = resources.files("mmlite") / "datasets" / "fashion.npz"
    mend = "install mmlite again, or run `git checkout mmlite/datasets` in a clone"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"the shipped data file {path} cannot be read ({error}); {mend}") from error
    if hashlib.sha256(raw).hexdigest() != FASHION_SHA256:
        raise DataError(
            f"the shipped data file {path} is damaged: its checksum is not the one published "
            f"with this version; {mend}"
        )
    with np.load(io.BytesIO(raw)) as arrays:
        images = torch.from_numpy(arrays[f"{split}_images"]).unsqueeze(1)
        labels = torch.from_numpy(arrays[f"{split}_labels"]).long()
    return ImageSet(images, labels, FASHION_CLASSES, name=f"fashion/{split}")


def _load_from_folder(name: str, split: str, root: Path, download: bool) -> ImageSet:
    try:
        images, labels, classes = SOURCES[name](root, split, download)
        found = ImageSet(
            torch.as_tensor(np.ascontiguousarray(images)),
            torch.as_tensor(np.asarray(labels)).long(),
            tuple(classes),
            name=f"{name}/{split}",
        )
        if split != "unlabeled" and bool((found.labels < 0).any()):
            raise ValueError(f"an image of {split} has no label")
    except DataError:
        raise
    # whatever a missing, truncated or foreign file makes torchvision or PIL raise
    except Exception as error:
        fetch = (
            "download it by hand from http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack "
            "it there"
            if name == "tiny-imagenet"
            else f"remove what is damaged there and call load({name!r}, {split!r}, download=True)"
        )
        raise DataError(
            f"{name} is missing or damaged in {root.resolve()} "
            f"({type(error).__name__}: {first_line(error)})"
            f"; {fetch}, or pass root= or set MMLITE_DATA to the folder that has it"
        ) from error
    return found


def plant_background(image_set: ImageSet, strength: float, seed: int = 0) -> ImageSet:
    """Compose each image, randomly tinted, over a smooth random color texture of its own.

    With g an image's brightness in 0..1, the result is g · tint + (1 − g) · strength · texture,
    where texture = clamp(1/2 + Σ_k nuisance_k φ_k, 0, 1) and φ are the first 3 × 3 cosine modes of
    each of the three colors. Any two views of an image share its texture and its tint: a
    confounder whose truth is known.

    Args:
        image_set: images with 1 or 3 channels; color is first reduced to brightness.
        strength: 0 (black background) to 1.
        seed: seeds textures and tints. Sets of different names get different textures from one
            seed, so that a test image does not carry a training image's background.

    Returns:
        Color images [N, 3, H, W], on the same device, whose `nuisance` is float32 [N, 30]: the
        27 numbers of the texture (9 modes of red, of green, of blue) and the 3 of the tint.

    Raises:
        ValueError: the strength is outside 0..1, or the images have another number of channels.

    Example:
        >>> planted = mmlite.plant_background(mmlite.load("fashion", "test", size=8), strength=0.25)
        >>> planted.images.shape, planted.nuisance.shape
        (torch.Size([8, 3, 28, 28]), torch.Size([8, 30]))
    """
    check_image_set("image_set", image_set)
    strength, seed = checks.real("strength", strength, least=0, most=1), checks.seed(seed)
    count, channels, height, width = image_set.images.shape
    if channels not in (1, 3):
        raise ValueError(f"image_set must have images of 1 or 3 channels, got {channels}")
    generator = torch.Generator().manual_seed(seed ^ zlib.crc32(image_set.name.encode()))
    modes = _cosine_modes(height, width)  # [9, H * W]
    frequency = torch.arange(TEXTURE_FREQUENCIES)
    decay = 0.25 / (1 + frequency[:, None] + frequency[None, :]).flatten()  # [9]: smooth
    waves = torch.randn(count, 3, len(decay), generator=generator) * decay
    tint = 0.4 + 0.6 * torch.rand(count, 3, 1, generator=generator)
    composed = torch.empty(count, 3, height, width, dtype=torch.uint8)
    for rows in torch.arange(count).split(1000):  # bounds the float copies
        garment = image_set.images[rows.to(image_set.device)].cpu().float().mean(1).flatten(1) / 255
        garment = garment[:, None]  # [n, 1, H * W]
        texture = (0.5 + waves[rows] @ modes).clamp(0, 1)
        mixed = garment * tint[rows] + (1 - garment) * strength * texture
        composed[rows] = (255 * mixed).round().to(torch.uint8).view(-1, 3, height, width)
    return replace(
        image_set,
        images=composed.to(image_set.device),
        nuisance=torch.cat([waves.flatten(1), tint.flatten(1)], 1).to(image_set.device),
        name=f"{image_set.name} + background {strength:g}",
    )


def _cosine_modes(height: int, width: int) -> Tensor:
    """Return the modes φ [9, H * W] of the discrete cosine transform, scaled to unit variance."""

    def axis(length: int) -> Tensor:
        position = (torch.arange(length) + 0.5) / length
        frequency = torch.arange(TEXTURE_FREQUENCIES)[:, None]
        scale = torch.where(frequency == 0, 1.0, math.sqrt(2))
        return scale * torch.cos(math.pi * frequency * position)

    return torch.einsum("ih,jw->ijhw", axis(height), axis(width)).flatten(2).flatten(0, 1)
