"""Several real processes on one machine, which join over gloo and each run a function."""

import socket
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_in(sizes: list[int], function, folder: Path, *arguments) -> list[dict]:
    """Return what function(rank, sizes, *arguments) returned in each process."""
    mp.spawn(_one, (sizes, str(folder), function, arguments), nprocs=len(sizes))
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(len(sizes))]
    (folder / "meet").unlink(missing_ok=True)
    return found


def _one(rank: int, sizes: list[int], folder: str, function, arguments) -> None:
    join(rank, len(sizes), folder)
    torch.save(function(rank, sizes, *arguments), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def join(rank: int, count: int, folder: str) -> None:
    """Join the processes that meet in a folder."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=300),
    )
    dist.barrier()  # or one that is done at once ends while another still connects to it


def free_port() -> str:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def own(whole, rank: int, sizes: list[int]):
    """Return a process's share of what belongs to a batch."""
    return whole[sum(sizes[:rank]) : sum(sizes[: rank + 1])]
