"""The group of processes that torchrun started: joined, left, and how to tell that one is gone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

# Its functions' default arguments are the group of the moment it is imported, and an optimizer
# imports it: a group held like that would outlive its end, and its threads could abort the process.
import torch.distributed.nn.functional

from mmlite.support import torchrun

TIMEOUT = timedelta(seconds=50)  # of an exchange: a process that hangs stops the others
START = timedelta(minutes=10)  # of joining: importing torch from a slow disk takes its time


class ProcessError(RuntimeError):
    """Another process has stopped or does not answer."""


@contextmanager
def process_group(
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
    with answered():
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
            "call fit within mmlite.distributed.process_group(device), or unset WORLD_SIZE to "
            "train a model in each"
        )


def world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, 0 for the first and for one that is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def answered() -> Iterator[None]:
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
