"""Where `fit` takes its batches from: memory, a data set that loads each image, or a loader.

Images in memory, and those of a map-style data set, come in an order that `fit` draws. So a run
goes on within an epoch, and several processes share each batch. A `DataLoader` that shuffles such a
data set stands for it, with its worker processes. Any other loader is taken as it is: its order is
its own, so one process trains, and a run goes on between epochs only.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler

from mmlite import distributed
from mmlite.data import ImageSet
from mmlite.support import checks
from mmlite.training.loading import OrderedLoader, checked, loaded
from mmlite.training.state import RunState, fingerprint
from mmlite.training.watch import TrainingError

BATCH_SIZE = 256
Images = ImageSet | Dataset | DataLoader
PLAIN = (type, Tensor, np.ndarray, str, bytes, dict, list, tuple, range)
WANTED = "an ImageSet, as load returns, a map-style Dataset, or a DataLoader of images"


class Batches(ABC):
    """The batches of a run.

    Attributes:
        source: what holds the images.
        batch_size: images of a batch, of all processes together.
        steps_per_epoch: batches of an epoch.
        ordered: whether `fit` draws the order.
    """

    source: Any
    batch_size: int
    steps_per_epoch: int
    ordered = True

    @abstractmethod
    def described(self) -> str:
        """Return what tells the images from others, for a run to be resumed on."""

    @abstractmethod
    def rest_of_epoch(
        self, state: RunState, device: torch.device, parts: int
    ) -> Iterator[tuple[Tensor, ...]]:
        """Yield this process's images of each batch that the epoch has still to take.

        A batch comes in so many parts [B, C, H, W], on a device.
        """


class _Ordered(Batches):
    """Full batches of a number of images in an order that `fit` draws."""

    def __init__(self, source: Any, batch_size: int) -> None:
        self.source, self.count = source, len(source)
        self.batch_size = checks.whole("batch_size", batch_size, 2, self.count)
        self.steps_per_epoch = self.count // self.batch_size

    def described(self) -> str:
        if isinstance(self.source, ImageSet):
            return fingerprint(self.source)
        return f"{type(self.source).__qualname__} of {self.count} images"

    def rest_of_epoch(
        self, state: RunState, device: torch.device, parts: int
    ) -> Iterator[tuple[Tensor, ...]]:
        order = state.order_of_epoch(self.count)
        done, size = state.within_epoch * self.batch_size, self.batch_size // parts
        rest = order[done : self.steps_per_epoch * self.batch_size].split(size)
        with distributed.sharded_batch(distributed.shard_sizes(size, distributed.world_size())):
            own = [distributed.local_shard(part) for part in rest]
        images = self.images(own, order, device)
        return zip(*[images] * parts, strict=True)

    @abstractmethod
    def images(
        self, places: Sequence[Tensor], order: Tensor, device: torch.device
    ) -> Iterator[Tensor]:
        """Yield the images at places int64 [B] each, of an epoch in that order."""


class _InMemory(_Ordered):
    """An `ImageSet` on the model's device; what lies in a file a CPU reads as it goes."""

    held: Tensor | None = None

    def images(
        self, places: Sequence[Tensor], order: Tensor, device: torch.device
    ) -> Iterator[Tensor]:
        if self.held is None:
            self.held = self.source.images.to(device)
        # all at once: each copy to a GPU would wait for what that still has to do
        on_device = torch.cat(list(places)).to(device)
        for part in on_device.split([len(part) for part in places]):
            yield self.held[part]


class _MapStyle(_Ordered):
    """A data set that gives an image by its place, and the loader that stands for it, if any."""

    def __init__(self, source: Any, batch_size: int, loader: DataLoader | None = None) -> None:
        super().__init__(source, batch_size)
        self.loader = OrderedLoader(source, loader)

    def images(
        self, places: Sequence[Tensor], order: Tensor, device: torch.device
    ) -> Iterator[Tensor]:
        for images in self.loader.load(places, order):
            yield images.to(device, non_blocking=True)


class _AsGiven(Batches):
    """A loader whose order is its own."""

    ordered = False

    def __init__(self, loader: DataLoader) -> None:
        self.source = loader
        try:
            self.steps_per_epoch = len(loader)
        except TypeError as error:
            raise ValueError(
                "the loader cannot tell how many batches an epoch has, which the schedule needs; "
                "give its data set a __len__"
            ) from error
        if self.steps_per_epoch < 1:
            raise ValueError("the loader has no batch; is batch_size above the number of images?")
        self.batch_size = loader.batch_size or 0
        if distributed.world_size() > 1:
            raise ValueError(
                "several processes cannot share a loader whose order is its own; give the data "
                "set, or a DataLoader with shuffle=True"
            )

    def described(self) -> str:
        return f"{type(self.source).__qualname__} of {self.steps_per_epoch} batches"

    def rest_of_epoch(
        self, state: RunState, device: torch.device, parts: int
    ) -> Iterator[tuple[Tensor, ...]]:
        epoch = state.step // self.steps_per_epoch
        for sampler in (self.source.sampler, self.source.batch_sampler):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
        count = 0
        for count, batch in enumerate(loaded(self.source), 1):
            images = checked(batch)
            self.batch_size = self.batch_size or len(images)
            if len(images) < 2 * parts:
                raise ValueError(
                    f"a batch of the loader has {len(images)} images, too few for accumulate = "
                    f"{parts}"
                )
            yield images.to(device, non_blocking=True).tensor_split(parts)
            if count == self.steps_per_epoch:
                return
        raise TrainingError(
            f"the loader gave {count} batches in epoch {epoch + 1}, and its length says "
            f"{self.steps_per_epoch}; the schedule needs the right number"
        )


def batches_of(images: Images, batch_size: int | None) -> Batches:
    """Return the batches of what `fit` was given.

    Args:
        images: an `ImageSet`, a map-style data set or a loader.
        batch_size: None for the loader's own, or 256.

    Raises:
        ValueError: `images` is another thing, or the size is out of its range, or not the loader's.
    """
    if isinstance(images, DataLoader):
        return _of_loader(images, batch_size)
    size = BATCH_SIZE if batch_size is None else batch_size
    if isinstance(images, ImageSet):
        return _InMemory(images, size)
    if isinstance(images, IterableDataset):
        raise ValueError("images is an IterableDataset; give a DataLoader of it")
    sized = all(hasattr(images, name) for name in ("__getitem__", "__len__"))
    if not sized or isinstance(images, PLAIN):  # a data set of another package need be no Dataset
        raise checks.wrong("images", WANTED, images)
    return _MapStyle(images, size)


def _of_loader(loader: DataLoader, batch_size: int | None) -> Batches:
    if batch_size is not None and batch_size != loader.batch_size:
        raise ValueError(
            f"batch_size is {batch_size}, and the loader's is {loader.batch_size}; leave it out "
            "here, the loader has it"
        )
    if loader.batch_size is not None and _shuffles(loader):
        return _MapStyle(loader.dataset, loader.batch_size, loader)
    return _AsGiven(loader)


def _shuffles(loader: DataLoader) -> bool:
    """Whether a loader does no more than take a map-style data set in a random order."""
    sampler = loader.sampler
    if type(sampler) is not RandomSampler or type(loader.batch_sampler) is not BatchSampler:
        return False
    return not sampler.replacement and sampler.num_samples == len(sampler.data_source)
