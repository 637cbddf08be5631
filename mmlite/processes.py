"""Several processes that hold one batch between them, each a shard of it.

Within `one_batch(sizes)` the losses are those of the whole batch: `nt_xent` compares with every
process's projections, `cross_correlation` sums its moments over all. One rule makes the gradients
right: every process computes the same value L, and the *mean* over the processes of the gradients
that it finds is the gradient of L, as with PyTorch's DistributedDataParallel. It holds because each
exchange is a sum over the processes whose backward is a sum again: Σ_r L is differentiated, and the
mean takes the factor back. `total` can be differentiated twice and in forward mode, too.

    torch.distributed.init_process_group("gloo")
    sizes = shard_sizes(len(batch), processes=torch.distributed.get_world_size())
    with one_batch(sizes):
        nt_xent(z1, z2).backward()  # z1, z2 of this process's images
    average([p.grad for p in model.parameters()])

`mmlite.fit` does not do this yet: the loop, BatchNorm and the mask's meta step know one process.
A process without images (fewer images than processes) is refused.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

_sizes: tuple[int, ...] | None = None  # images of each process, within one_batch


class ProcessError(RuntimeError):
    """Another process has stopped or does not answer."""


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
def one_batch(sizes: Sequence[int]) -> Iterator[None]:
    """Let the losses see the batches of all processes as one.

    Args:
        sizes: the number of images of each process, the same list on each.

    Raises:
        ValueError: a process has no image, or there is not one size a process.
    """
    global _sizes
    processes = dist.get_world_size() if dist.is_initialized() else 1
    if len(sizes) != processes or min(sizes) < 1:
        raise ValueError(
            f"one_batch needs a size of at least 1 for each of the {processes} processes, got "
            f"{list(sizes)}"
        )
    before, _sizes = _sizes, tuple(sizes) if processes > 1 else None
    try:
        yield
    finally:
        _sizes = before


def shared() -> bool:
    """Whether this process holds a shard of a batch, rather than a batch."""
    return _sizes is not None


def whole_size(own: int) -> int:
    """Return the images of the whole batch, given this process's.

    Raises:
        ValueError: they are not as many as `one_batch` was told.
    """
    if _sizes is None:
        return own
    if own != _sizes[dist.get_rank()]:
        raise ValueError(
            f"process {dist.get_rank()} holds {own} images, but one_batch was told {list(_sizes)}"
        )
    return sum(_sizes)


def first_row() -> int:
    """Return the place of this process's first image in the whole batch."""
    return 0 if _sizes is None else sum(_sizes[: dist.get_rank()])


def total(x: Tensor) -> Tensor:
    """Return the sum of x over the processes, on each of them; x itself where there is one."""
    return x if _sizes is None else _Total.apply(x)


def rows_of_all(x: Tensor) -> Tensor:
    """Return the rows of all processes [N, ...], given this process's [n, ...], with gradients.

    Each adds its rows to zeros, so that uneven shards and all derivatives come for free; a ring
    moves twice the bytes of a plain gather.
    """
    count = whole_size(len(x))
    if _sizes is None:
        return x
    start = first_row()
    parts = x.new_zeros(start, *x.shape[1:]), x, x.new_zeros(count - start - len(x), *x.shape[1:])
    return total(torch.cat(parts))


@torch.no_grad()
def greatest(x: Tensor) -> Tensor:
    """Return the entrywise maximum of x over the processes, without a gradient."""
    return x if _sizes is None else _reduced(x, maximum=True)


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one exchange."""
    if not dist.is_initialized() or dist.get_world_size() == 1 or not tensors:
        return
    flat = _reduced(torch.cat([t.flatten() for t in tensors])) / dist.get_world_size()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


class _Total(torch.autograd.Function):
    """The sum over the processes; its derivative, forwards and backwards, is the same sum."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _reduced(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Total.apply(gradient)

    @staticmethod
    def jvp(ctx, tangent: Tensor) -> Tensor:
        return _reduced(tangent)


def _reduced(x: Tensor, maximum: bool = False) -> Tensor:
    """Return x reduced over the processes, or raise a ProcessError if one does not answer."""
    x = x.detach().clone(memory_format=torch.contiguous_format)
    try:
        dist.all_reduce(x, dist.ReduceOp.MAX if maximum else dist.ReduceOp.SUM)
    # gloo reports a closed connection and a timeout as this; NCCL ends the process by itself
    except RuntimeError as error:
        raise ProcessError(
            f"process {dist.get_rank()} stops, because another process has stopped or does not "
            f"answer ({str(error).splitlines()[0]}); look for that one's own message"
        ) from error
    return x
