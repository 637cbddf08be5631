"""Exchanges between processes, named as PyTorch names them; alone, a process keeps what it has.

One rule makes the gradients of a sharded batch right: every process computes the same value L, and
the *mean* over the processes of the gradients that it finds is the gradient of L, as with PyTorch's
DistributedDataParallel. It holds because each exchange is a sum over the processes whose backward
is a sum again: Σ_r L is differentiated, and the mean takes the factor back. `all_reduce_sum` can be
differentiated twice and in forward mode, too.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mmlite.distributed.group import answered, rank, world_size
from mmlite.distributed.shards import global_size, is_sharded, shard_start

T = TypeVar("T")


def broadcast_result(make: Callable[[], T]) -> T:
    """Return on every process what `make()` returns on the first, or raise there what it raises.

    What only one process may do, or see: rename a file, draw a number.
    """
    if world_size() == 1:
        return make()
    both: list[Any] = [None, None]  # what came of it: a result or an error
    raised: Exception | None = None
    if rank() == 0:
        try:
            both[0] = make()
        except Exception as error:  # raised below, here as on the others
            both[1] = raised = error
    with answered():
        dist.broadcast_object_list(both)
    if both[1] is not None:
        raise both[1] if raised is None else raised
    return both[0]


def all_gather_objects(value: T) -> list[T]:
    """Return the values of all processes, in their order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with answered():
        dist.all_gather_object(values, value)
    return values


@torch.no_grad()
def broadcast(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by the first process's."""
    if world_size() > 1:
        with answered():
            for tensor in tensors:
                sent = tensor.contiguous()
                dist.broadcast(sent, 0)
                tensor.copy_(sent)


def all_reduce_sum(x: Tensor) -> Tensor:
    """Return the sum of x over the processes, on each of them; x itself where there is one."""
    return x if not is_sharded() else _AllReduceSum.apply(x)


def all_gather_rows(x: Tensor) -> Tensor:
    """Return the rows of all processes [N, ...], given this process's [n, ...], with gradients.

    Each adds its rows to zeros, so that uneven shards and all derivatives come for free; a ring
    moves twice the bytes of a plain gather.
    """
    size = global_size(len(x))
    return x if not is_sharded() else all_reduce_sum(_placed(x, shard_start(), size))


def all_gather_row(row: Tensor) -> Tensor:
    """Return each process's row [P] in a matrix [processes, P], on all of them, with gradients."""
    return all_reduce_sum(_placed(row[None], rank(), world_size()))


@torch.no_grad()
def all_reduce_max(x: Tensor) -> Tensor:
    """Return the entrywise maximum of x over the processes, without a gradient."""
    return x if not is_sharded() else _reduced(x, maximum=True)


@torch.no_grad()
def all_reduce_mean(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one exchange."""
    if world_size() == 1 or not tensors:
        return
    flat = _reduced(torch.cat([t.flatten() for t in tensors])) / world_size()
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
    if world_size() == 1 or not parameters:
        return
    sent = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = sent[0].new_tensor([p.grad is not None for p in parameters])
    flat = _reduced(torch.cat([*(g.flatten() for g in sent), there])) / world_size()
    *means, there = flat.split([*(g.numel() for g in sent), len(parameters)])
    for index, (p, mean) in enumerate(zip(parameters, means, strict=True)):
        if p.grad is not None:
            p.grad.copy_(mean.view(p.shape))
        elif there[index] > 0:
            p.grad = mean.view(p.shape).to(p.dtype)


class _AllReduceSum(torch.autograd.Function):
    """The sum over the processes; its derivative, forwards and backwards, is the same sum."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _reduced(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _AllReduceSum.apply(gradient)

    @staticmethod
    def jvp(ctx, tangent: Tensor) -> Tensor:
        return _reduced(tangent)


def _placed(x: Tensor, start: int, size: int) -> Tensor:
    """Return zeros [size, ...] with x's rows from `start` on."""
    after = size - start - len(x)
    return torch.cat([x.new_zeros(start, *x.shape[1:]), x, x.new_zeros(after, *x.shape[1:])])


def _reduced(x: Tensor, maximum: bool = False) -> Tensor:
    """Return x reduced over the processes, or raise a ProcessError if one does not answer."""
    x = x.detach().clone(memory_format=torch.contiguous_format)
    with answered():
        dist.all_reduce(x, dist.ReduceOp.MAX if maximum else dist.ReduceOp.SUM)
    return x
