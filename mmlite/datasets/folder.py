"""Images of any common format in a folder, a subfolder for each class."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmlite.datasets import DataError
from mmlite.support.errors import first_line

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
NAMED = 5  # files that a warning names
LOST = "a link to nothing"


class DataWarning(UserWarning):
    """Something was left out; the message says what and why."""


class Folder(NamedTuple):
    """What a folder holds: images uint8 [N, C, H, W], a label for each (-1: none), class names."""

    images: np.ndarray
    labels: list[int]
    classes: tuple[str, ...]


def read_folder(root: Path, size: int | None, channels: int) -> Folder:
    """Return the images below a folder, with a warning that names what was left out.

    Args:
        root: its subfolders are the classes; without subfolders its images have no labels.
        size: H = W; the shorter side is brought to it and the middle kept. None takes images that
            are all of one size as they are.
        channels: 3 for color, 1 for gray.

    Raises:
        DataError: there is no such folder, no image in it, or the sizes differ and no `size` is
            given.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder")
    files, labels, classes, left_out = _files(root)
    with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as threads:
        read_or_not = list(threads.map(lambda path: _read(path, size, channels), files))
    images, kept = [], []
    for path, label, one in zip(files, labels, read_or_not, strict=True):
        if isinstance(one, str):
            left_out[str(path.relative_to(root))] = one
        else:
            images.append(one)
            kept.append(label)
    if not images:
        why = _told(left_out) if left_out else "it is empty"
        raise DataError(f"{root} holds no image that can be read: {why}")
    sizes = sorted({one.shape[1:] for one in images})
    if len(sizes) > 1:
        several = ", ".join(f"{height}×{width}" for height, width in sizes[:3])
        raise DataError(
            f"the images in {root} have {len(sizes)} sizes ({several} …); give size= to bring all "
            "to one"
        )
    if left_out:
        message = f"of {root} {len(left_out)} left out: {_told(left_out)}"
        warnings.warn(message, DataWarning, stacklevel=3)
    return Folder(np.stack(images), kept, classes)


def _files(root: Path) -> tuple[list[Path], list[int], tuple[str, ...], dict[str, str]]:
    """Return the files that look like images, their labels, the classes, and what does not."""
    visible = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in visible if path.is_dir()]
    left_out: dict[str, str] = {}
    within: dict[str, list[Path]] = {}
    for folder in folders or [root]:
        there = [path for path in sorted(folder.rglob("*")) if not path.name.startswith(".")]
        left_out |= {str(path.relative_to(root)): LOST for path in there if _is_lost(path)}
        there = [path for path in there if path.is_file()]
        found = [path for path in there if path.suffix.lower() in SUFFIXES]
        for path in there:
            if path.suffix.lower() not in SUFFIXES:
                left_out[str(path.relative_to(root))] = "no suffix of an image"
        if found:
            within[folder.name] = found
        elif folders:
            left_out[folder.name] = "a folder without images"
    for path in visible if folders else []:
        if path.is_file():
            left_out[path.name] = "in no class's folder"
        elif _is_lost(path):  # it may have been a class
            left_out[path.name] = LOST
    files = [path for found in within.values() for path in found]
    if not folders:
        return files, [-1] * len(files), (), left_out
    labels = [label for label, found in enumerate(within.values()) for _ in found]
    return files, labels, tuple(within), left_out


def _is_lost(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _read(path: Path, size: int | None, channels: int) -> np.ndarray | str:
    """Return an image uint8 [C, H, W], upright, or why it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if size is not None:
                opened.draft("RGB", (size, size))  # a JPEG is decoded no larger than it has to be
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                image = _eight_bits(image)
            image = image.convert("L" if channels == 1 else "RGB")
            if size is not None:
                image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
            pixels = np.asarray(image)
    except Exception as error:  # Pillow's decoders raise what they like at a damaged file
        return f"damaged ({first_line(error)})"
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _eight_bits(image):
    """Return an image of more bits as one of 8.

    Of 16 bits 0 to 65,535 become 0 to 255, of floats 0 to 1; others their least to their most.
    """
    from PIL import Image

    values = np.asarray(image, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds NaN or infinities")
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif image.mode.startswith("F") and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (values - low) * (255 / (high - low or 1))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


def _told(left_out: dict[str, str]) -> str:
    first = [f"{name} ({why})" for name, why in list(left_out.items())[:NAMED]]
    rest = len(left_out) - len(first)
    return "; ".join(first) + (f"; and {rest} more" if rest else "")
