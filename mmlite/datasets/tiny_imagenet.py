"""tiny-imagenet in the folder format that its zip unpacks to, every class whole or refused."""

from pathlib import Path

import numpy as np

from mmlite.datasets import DataError

UNPACK = "unpack the zip again"


def read(root: Path, split: str) -> tuple[np.ndarray, list[int], list[str]]:
    """Return images uint8 [N, 3, 64, 64], labels and names of classes.

    Raises:
        DataError: an image, a class or a list is missing or damaged.
    """
    from PIL import Image

    folder = root / "tiny-imagenet-200"
    wnids, classes = _classes(folder)
    # the published test images have no labels: the validation images stand in
    files = _train(folder, wnids) if split == "train" else _val(folder, wnids)
    images = []
    for path, _ in files:
        try:
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
        except OSError as error:
            raise DataError(f"{path} is missing or damaged; {UNPACK}") from error
    return np.stack(images), [label for _, label in files], classes


def _classes(folder: Path) -> tuple[list[str], list[str]]:
    """Return the classes' WordNet ids and names."""
    wnids = (folder / "wnids.txt").read_text().split()
    lines = (folder / "words.txt").read_text().splitlines()
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    if not wnids:
        raise DataError(f"{folder / 'wnids.txt'} names no class; {UNPACK}")
    if twice := sorted({wnid for wnid in wnids if wnids.count(wnid) > 1}):
        raise DataError(f"{folder / 'wnids.txt'} names {twice[0]} twice; {UNPACK}")
    _refuse_missing(
        [wnid for wnid in wnids if wnid not in words],
        f"of the {len(wnids)} classes of wnids.txt have no name in {folder / 'words.txt'}",
    )
    return wnids, [words[wnid].split(",")[0] for wnid in wnids]


def _train(folder: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    """Return the training images with their labels, every class whole.

    A class is whole if it has as many images as any other, all that its list of boxes names, and
    numbers without a gap: so a small set in this format can be told from the rest of a large one.
    """
    train = folder / "train"
    _refuse_missing(
        [wnid for wnid in wnids if not (train / wnid).is_dir()],
        f"of the {len(wnids)} classes of wnids.txt have no folder in {train}",
    )
    there = [path.name for path in sorted(train.iterdir()) if path.is_dir()]
    _refuse_missing(
        [name for name in there if name not in wnids and name[0] not in "._"],
        f"of the {len(there)} folders in {train} are no class of wnids.txt",
    )
    of_class = [_jpegs(train / wnid / "images") for wnid in wnids]
    most = max(1, *(len(paths) for paths in of_class))
    missing = [
        f"{wnid} ({len(paths)})"
        for wnid, paths in zip(wnids, of_class, strict=True)
        if len(paths) < most or _promised(train / wnid, wnid, paths) - {p.name for p in paths}
    ]
    _refuse_missing(
        missing,
        f"of the {len(wnids)} classes in {train} lack images: the fullest has {most}, and some",
    )
    return [(path, label) for label, paths in enumerate(of_class) for path in paths]


def _promised(folder: Path, wnid: str, paths: list[Path]) -> set[str]:
    """Return the images that a class's list of boxes names, and those up to its highest number."""
    boxes = folder / f"{wnid}_boxes.txt"
    rows = boxes.read_text().splitlines() if boxes.exists() else []
    numbers = [path.stem.removeprefix(f"{wnid}_") for path in paths]
    highest = max((int(number) for number in numbers if number.isdecimal()), default=-1)
    listed = {row.split("\t")[0] for row in rows if row.strip()}
    return listed | {f"{wnid}_{number}.JPEG" for number in range(highest + 1)}


def _val(folder: Path, wnids: list[str]) -> list[tuple[Path, int]]:
    """Return the validation images with their labels: all that the list names, and no other."""
    annotations, images = folder / "val" / "val_annotations.txt", folder / "val" / "images"
    rows = [row.split("\t") for row in annotations.read_text().splitlines() if row.strip()]
    if not rows or any(len(row) < 2 for row in rows):
        raise DataError(f"{annotations} is empty or damaged; {UNPACK}")
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    named, there = {row[0] for row in rows}, {path.name for path in _jpegs(images)}
    for faults, what in (
        (named - there, f"of the {len(named)} images of {annotations.name} are not in {images}"),
        (there - named, f"of the {len(there)} images in {images} are not in {annotations.name}"),
        (
            {row[1] for row in rows} - set(wnids),
            f"classes of {annotations} are not among the {len(wnids)} of wnids.txt",
        ),
    ):
        _refuse_missing(sorted(faults), what)
    return [(images / name, label_of[wnid]) for name, wnid, *_ in rows]


def _jpegs(folder: Path) -> list[Path]:
    """Return a folder's images; not the files ._x.JPEG, in which macOS keeps its own notes."""
    return sorted(path for path in folder.glob("*.JPEG") if not path.name.startswith("."))


def _refuse_missing(names: list[str], what: str) -> None:
    """Raise a DataError that counts what is missing and names the first few, unless none is."""
    if names:
        few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise DataError(f"tiny-imagenet is not whole: {len(names)} {what} ({few}); {UNPACK}")
