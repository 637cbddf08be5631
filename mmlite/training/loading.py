"""Images of a data set that loads them one by one, in an order that `fit` draws.

Each image is drawn from random numbers of its own, given by the order and its place in the set. So
what a random transformation makes of it depends neither on how many worker processes there are, nor
on which of several processes asks, nor on where in an epoch a run was stopped.
"""

import hashlib
import random
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from mmlite.support import checks
from mmlite.support.rng import RngState
from mmlite.training.watch import TrainingError
from mmlite.views import WHITE

Numbered = tuple[int, int]  # an image's place in the set, and the seed of its random numbers
OF_LOADER = (  # what a DataLoader does besides its order
    *("num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context"),
    *("prefetch_factor", "persistent_workers", "in_order"),
)


class _Seeded(Dataset):
    """A map-style data set whose images are asked for with the seeds of their random numbers."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitems__(self, numbered: Sequence[Numbered]) -> list[Any]:
        before = RngState.now(torch.device("cpu"))
        try:
            return [self._item(*one) for one in numbered]
        finally:
            before.restore()

    def _item(self, index: int, seed: int) -> Any:
        torch.random.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002, transformations draw from it
        return self.dataset[index]


class _Asked:
    """The batches that a loader is to load next: what its workers are sent."""

    def __init__(self) -> None:
        self.places: Sequence[Tensor] = ()
        self.drawn = 0  # what the epoch's order came to

    def __iter__(self) -> Iterator[list[Numbered]]:
        for batch in self.places:
            yield [(index, _seed(self.drawn, index)) for index in batch.tolist()]

    def __len__(self) -> int:
        return len(self.places)


class OrderedLoader:
    """Loads batches of a map-style data set, in worker processes if its loader has some.

    Args:
        dataset: gives an image by its place: a tensor [C, H, W] or a PIL image, alone or as the
            first of a tuple.
        loader: whose workers and collate are used; None for none.
    """

    def __init__(self, dataset: Any, loader: DataLoader | None) -> None:
        taken = {} if loader is None else {n: getattr(loader, n) for n in OF_LOADER}
        collate = None if loader is None else loader.collate_fn
        self._asked = _Asked()
        self._loader = DataLoader(
            _Seeded(dataset),
            batch_sampler=self._asked,
            collate_fn=stacked if collate in (None, default_collate) else collate,
            generator=torch.Generator(),  # else each epoch would draw from the global one
            **taken,
        )

    def load(self, places: Sequence[Tensor], order: Tensor) -> Iterator[Tensor]:
        """Yield images [B, C, H, W] for each batch of places int64 [B].

        Args:
            places: the batches.
            order: of the whole epoch, which the random numbers depend on.

        Raises:
            TrainingError: the data set cannot give an image, or a worker has died.
            ValueError: what it gives are not images.
        """
        self._asked.places, self._asked.drawn = places, zlib.crc32(order.numpy().tobytes())
        for batch, images in zip(places, loaded(self._loader), strict=True):
            yield checked(images, len(batch))


def loaded(loader: DataLoader) -> Iterator[Any]:
    """Yield what a loader gives; of its errors, in a sentence, the one beneath."""
    try:
        yield from loader
    except Exception as error:
        # a worker's error arrives as the text of its traceback
        told = (str(error).strip().splitlines() or [""])[-1]
        told = told.removeprefix(f"{type(error).__name__}: ")
        if isinstance(error, ValueError):
            raise ValueError(told) from error
        raise TrainingError(
            f"the images could not be loaded ({type(error).__name__}: {told}); without workers "
            "(num_workers=0), or image by image, Python tells where"
        ) from error


def stacked(items: Sequence[Any]) -> Tensor:
    """Return the images of a batch as one tensor [B, C, H, W], and leave labels behind.

    Raises:
        ValueError: an item is no image, or the images differ in size or type.
    """
    images = [_pixels(item) for item in items]
    kinds = {(tuple(image.shape), image.dtype) for image in images}
    if len(kinds) > 1:
        a, b = sorted(map(str, kinds))[:2]
        raise ValueError(
            f"the images of a batch must have one shape and type, got {a} and {b}; let the data "
            "set resize and convert them"
        )
    return torch.stack(images)


def checked(batch: Any, size: int | None = None) -> Tensor:
    """Return the images of a loader's batch: the tensor itself, or the first of a tuple.

    Raises:
        ValueError: they are not images [B, C, H, W], at least 2, or not as many as were asked for.
    """
    images = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    wanted = "images [B, C, H, W] of uint8, uint16 or float, alone or as the first of a tuple"
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise checks.wrong("a batch of the loader", wanted, images)
    if images.dtype not in WHITE and not checks.is_float(images):
        raise checks.wrong("a batch of the loader", wanted, images)
    checks.channels_first("the loader's images", images)
    if size is not None and len(images) != size:
        raise ValueError(f"a batch of the loader has {len(images)} images where {size} were due")
    if len(images) < 2:
        raise ValueError(
            f"a batch of the loader has {len(images)} images, and a loss compares at least 2; give "
            "the loader drop_last=True"
        )
    return images


def _pixels(item: Any) -> Tensor:
    """Return an item's image as [C, H, W]: a tensor as it is, of a PIL image its bytes."""
    image = item[0] if isinstance(item, (tuple, list)) and item else item
    if isinstance(image, Tensor):
        if image.dim() == 3:
            return image
    elif hasattr(image, "getbands"):  # PIL's, without importing it
        if image.mode in ("1", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):  # no gray, red or blue
            image = image.convert("L" if image.mode == "1" else "RGB")
        pixels = torch.from_numpy(np.array(image))
        return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
    raise checks.wrong(
        "an item of the data set",
        "an image: a tensor [C, H, W] or a PIL image, alone or as the first of a tuple",
        image,
    )


def _seed(drawn: int, index: int) -> int:
    """Return a seed of 63 bits for an image, given what the epoch's order came to."""
    digest = hashlib.blake2b(f"{drawn} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
