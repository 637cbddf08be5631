"""Several processes that hold one batch between them, each a shard of it.

Within `one_batch` the losses are those of the whole batch: `nt_xent` compares with every
process's projections, `cross_correlation` sums its moments over all. One rule makes the gradients
right: every process computes the same value L, and the *mean* over the processes of the gradients
that it finds is the gradient of L, as with PyTorch's DistributedDataParallel. It holds because each
exchange is a sum over the processes whose backward is a sum again: Σ_r L is differentiated, and the
mean takes the factor back. `total` can be differentiated twice and in forward mode, too.

    with group("cpu"):  # torchrun has started this script several times
        with one_batch(shard_sizes(len(batch), count())):
            nt_xent(z1, z2).backward()  # z1, z2 of own_share(batch)
        average([p.grad for p in model.parameters()])

`mmlite.fit` does all of this by itself. A process without images (fewer images than processes) is
refused. Exchanges are those of `torch.distributed`: NCCL between GPUs, gloo between CPUs.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

# Its functions' default arguments are the group of the moment it is imported, and an optimiser
# imports it: a group held like that would outlive its end, and its threads could abort the process.
import torch.distributed.nn.functional
from torch import Tensor

from mmlite import torchrun

T = TypeVar("T")
TIMEOUT = timedelta(seconds=50)  # of an exchange: a process that hangs stops the others
START = timedelta(minutes=10)  # of joining: importing torch from a slow disk takes its time
_sizes: tuple[int, ...] | None = None  # images of each process, within one_batch


class ProcessError(RuntimeError):
    """Another process has stopped or does not answer."""


@contextmanager
def group(
    device: torch.device | str, timeout: timedelta = TIMEOUT, start: timedelta = START
) -> Iterator[None]:
    """Join the processes that torchrun started, and part from them at the end; alone, do nothing.

    Args:
        device: where the tensors of this process are. With "cuda" each process of a machine takes
            the GPU of its local rank as its current one.
        timeout: how long an exchange may wait for the slowest process.
        start: how long joining may.

    Raises:
        ValueError: torchrun's variables are not there, there are fewer GPUs than processes, or
            the device is neither a CPU nor a GPU of CUDA.
        ProcessError: the others do not come.
    """
    torchrun.check_variables()
    kind = torch.device(device).type
    if torchrun.world_size() == 1 or dist.is_initialized():
        yield
        return
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"several processes need CPUs or CUDA, not {kind}; set MMLITE_DEVICE=cpu")
    if kind == "cuda":
        local, there = torchrun.local_rank(), torch.cuda.device_count()
        if local >= there:
            raise ValueError(
                f"this machine has {there} GPUs, too few for process {local} of it; start "
                f"--nproc-per-node {there}, or set MMLITE_DEVICE=cpu"
            )
        torch.cuda.set_device(local)
    with _answered():
        # The store waits for the start; the group has its own timeout from the first, for gloo
        # of torch 2.8 keeps the one that it was made with.
        store, here, there = next(dist.rendezvous("env://", timeout=start))
        store.set(f"mmlite/{here}", "here")
        store.wait([f"mmlite/{other}" for other in range(there)], start)
        backend = "nccl" if kind == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=here, world_size=there, timeout=timeout)
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_joined() -> None:
    """Raise a ValueError if torchrun has started several processes that have not joined.

    Each would train a model of its own, and write it where the others do.
    """
    started = torchrun.world_size()
    if started > 1 and not dist.is_initialized():
        raise ValueError(
            f"torchrun has started {started} processes (WORLD_SIZE), but they have not joined; "
            "call fit within mmlite.processes.group(device), or unset WORLD_SIZE to train a model "
            "in each"
        )


def count() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, 0 for the first and for one that is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def from_first(make: Callable[[], T]) -> T:
    """Return on every process what `make()` returns on the first, or raise there what it raises.

    What only one process may do, or see: rename a file, draw a number.
    """
    if count() == 1:
        return make()
    made: list[T | None] = [None]
    raised: list[Exception | None] = [None]
    if rank() == 0:
        try:
            made[0] = make()
        except Exception as error:  # raised below, here as on the others
            raised[0] = error
    both = [made[0], raised[0]]
    with _answered():
        dist.broadcast_object_list(both)
    if both[1] is not None:
        raise both[1] if raised[0] is None else raised[0]
    return both[0]


def of_each(value: T) -> list[T]:
    """Return the values of all processes, in their order."""
    if count() == 1:
        return [value]
    values: list[T | None] = [None] * count()
    with _answered():
        dist.all_gather_object(values, value)
    return values


@torch.no_grad()
def take_from_first(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by the first process's."""
    if count() > 1:
        with _answered():
            for tensor in tensors:
                sent = tensor.contiguous()
                dist.broadcast(sent, 0)
                tensor.copy_(sent)


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
def one_batch(each: Sequence[int]) -> Iterator[None]:
    """Let the losses see the batches of all processes as one.

    Args:
        each: the number of images of each process, the same list on each.

    Raises:
        ValueError: a process has no image, or there is not one size a process.
    """
    global _sizes
    if len(each) != count() or min(each) < 1:
        raise ValueError(
            f"one_batch needs a size of at least 1 for each of the {count()} processes, got "
            f"{list(each)}"
        )
    before, _sizes = _sizes, tuple(each) if count() > 1 else None
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


def sizes() -> tuple[int, ...] | None:
    """Return the images of each process, within `one_batch` of several processes; else None."""
    return _sizes


def first_row() -> int:
    """Return the place of this process's first image in the whole batch."""
    return 0 if _sizes is None else sum(_sizes[: dist.get_rank()])


def own_share(whole: Tensor, dim: int = 0) -> Tensor:
    """Return this process's part of what belongs to the images of the whole batch, along `dim`."""
    if _sizes is None:
        return whole
    return whole.narrow(dim, first_row(), _sizes[dist.get_rank()])


def total(x: Tensor) -> Tensor:
    """Return the sum of x over the processes, on each of them; x itself where there is one."""
    return x if _sizes is None else _Total.apply(x)


def rows_of_all(x: Tensor) -> Tensor:
    """Return the rows of all processes [N, ...], given this process's [n, ...], with gradients.

    Each adds its rows to zeros, so that uneven shards and all derivatives come for free; a ring
    moves twice the bytes of a plain gather.
    """
    size = whole_size(len(x))
    return x if _sizes is None else total(_placed(x, first_row(), size))


def row_of_each(row: Tensor) -> Tensor:
    """Return each process's row [P] in a matrix [processes, P], on all of them, with gradients."""
    return total(_placed(row[None], rank(), count()))


def _placed(x: Tensor, start: int, size: int) -> Tensor:
    """Return zeros [size, ...] with x's rows from `start` on."""
    after = size - start - len(x)
    return torch.cat([x.new_zeros(start, *x.shape[1:]), x, x.new_zeros(after, *x.shape[1:])])


@torch.no_grad()
def greatest(x: Tensor) -> Tensor:
    """Return the entrywise maximum of x over the processes, without a gradient."""
    return x if _sizes is None else _reduced(x, maximum=True)


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one exchange."""
    if count() == 1 or not tensors:
        return
    flat = _reduced(torch.cat([t.flatten() for t in tensors])) / count()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each parameter's gradient by its mean over the processes, in one exchange.

    A gradient that is missing here counts as zero where another process has one, and stays None
    where none has. Every process sends all parameters' gradients, and a number for each parameter
    that says whether there is one, so that messages are equally long whatever each has used.

    Args:
        parameters: the same ones, in the same order, in each process.
    """
    if count() == 1 or not parameters:
        return
    sent = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = sent[0].new_tensor([p.grad is not None for p in parameters])
    flat = _reduced(torch.cat([*(g.flatten() for g in sent), there])) / count()
    *means, there = flat.split([*(g.numel() for g in sent), len(parameters)])
    for index, (p, mean) in enumerate(zip(parameters, means, strict=True)):
        if p.grad is not None:
            p.grad.copy_(mean.view(p.shape))
        elif there[index] > 0:
            p.grad = mean.view(p.shape).to(p.dtype)


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
    with _answered():
        dist.all_reduce(x, dist.ReduceOp.MAX if maximum else dist.ReduceOp.SUM)
    return x


@contextmanager
def _answered() -> Iterator[None]:
    """Turn what torch.distributed raises when a process is gone into a sentence."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    # gloo reports a closed connection and a timeout as this; NCCL ends the process by itself
    except RuntimeError as error:
        # without the place in gloo's source, and its advice
        said = next(iter(str(error).splitlines()), type(error).__name__)
        said = re.sub(r"^\[\S+:\d+\] ", "", said).partition(". This is")[0]
        raise ProcessError(
            f"another process has stopped or does not answer ({said}), so this one stops; look for "
            "the other's own message"
        ) from error
