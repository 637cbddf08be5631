"""A batch that several processes hold between them, each a shard of it.

Within `sharded_batch` the losses are those of the whole batch: `nt_xent` compares with every
process's projections, `cross_correlation` sums its moments over all.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from mmlite.distributed.group import rank, world_size

_sizes: tuple[int, ...] | None = None  # images of each process, within sharded_batch


def shard_sizes(count: int, processes: int) -> list[int]:
    """Return how many of `count` images each process takes, as equal as can be, more first.

    Raises:
        ValueError: there are fewer images than processes.
    """
    if not 1 <= processes <= count:
        raise ValueError(
            f"{count} images cannot be shared among {processes} processes; each needs at least "
            "one, so take a larger batch or fewer processes"
        )
    return [count // processes + (rank < count % processes) for rank in range(processes)]


@contextmanager
def sharded_batch(each: Sequence[int]) -> Iterator[None]:
    """Let the losses see the batches of all processes as one.

    Args:
        each: the number of images of each process, the same list on each.

    Raises:
        ValueError: a process has no image, or there is not one size a process.
    """
    global _sizes
    if len(each) != world_size() or min(each) < 1:
        raise ValueError(
            f"sharded_batch needs a size of at least 1 for each of the {world_size()} processes, "
            f"got {list(each)}"
        )
    before, _sizes = _sizes, tuple(each) if world_size() > 1 else None
    try:
        yield
    finally:
        _sizes = before


def is_sharded() -> bool:
    """Whether this process holds a shard of a batch, rather than a batch."""
    return _sizes is not None


def global_size(own: int) -> int:
    """Return the images of the whole batch, given this process's.

    Raises:
        ValueError: they are not as many as `sharded_batch` was told.
    """
    if _sizes is None:
        return own
    if own != _sizes[rank()]:
        raise ValueError(
            f"process {rank()} holds {own} images, but sharded_batch was told {list(_sizes)}"
        )
    return sum(_sizes)


def sizes() -> tuple[int, ...] | None:
    """Return the images of each process, within `sharded_batch` of several processes; else None."""
    return _sizes


def shard_start() -> int:
    """Return the place of this process's first image in the whole batch."""
    return 0 if _sizes is None else sum(_sizes[: rank()])


def local_shard(whole: Tensor, dim: int = 0) -> Tensor:
    """Return this process's part of what belongs to the images of the whole batch, along `dim`."""
    if _sizes is None:
        return whole
    return whole.narrow(dim, shard_start(), _sizes[rank()])
