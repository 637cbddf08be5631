"""What several processes cost: a step of joint training by one and by two, and what they exchange.

    uv run python benchmarks/processes.py [--epochs 3]

Each process has one thread. The batch B, the width D of the representation and the width P of the
projections are changed in turn, the batch being that of both processes together. Told are
milliseconds a step, those of them within an exchange (waiting for the other included), messages
and megabytes a step, and what the ring of `mmlite.experiments.costs` makes of those messages with
the latency and bandwidth of this machine, measured between the same processes. Medians over steps;
writes benchmarks/results/processes-cpu.json.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from common import save

from mmlite import distributed
from mmlite.distributed import batch_norm
from mmlite.experiments import costs
from mmlite.experiments.parts import build, images_of
from mmlite.experiments.recipes import RECIPES, Recipe
from mmlite.training import fit

BASE = RECIPES["fashion-laptop"].replace(images=1024, batch_size=128)
CASES = {
    "B 128, D 128, P 64": BASE,
    "B 64": BASE.replace(batch_size=64),
    "B 256": BASE.replace(batch_size=256),
    "D 64": BASE.replace(dim=64),
    "D 256": BASE.replace(dim=256),
    "P 32": BASE.replace(projection=32),
    "P 256": BASE.replace(projection=256),
}
SMALL, LARGE = 2**10, 2**24  # bytes, for latency and bandwidth


def steps(recipe: Recipe, epochs: int) -> list[dict[str, float]]:
    """Return for each step of a run its seconds, and its exchanges' seconds, number and bytes."""
    parts = build(recipe, "joint")
    batch_norm.convert_sync_batchnorm(parts.model)
    found, all_reduce = [], dist.all_reduce
    now = {"seconds": 0.0, "exchanging": 0.0, "messages": 0, "bytes": 0}

    def timed(x: torch.Tensor, *rest) -> None:
        started = time.perf_counter()
        all_reduce(x, *rest)
        now["exchanging"] += time.perf_counter() - started
        now["messages"] += 1
        now["bytes"] += x.nbytes

    def after_step(optimizer: torch.optim.Optimizer) -> None:
        ended = time.perf_counter()
        found.append(now | {"seconds": ended - now["seconds"]})
        now.update(seconds=ended, exchanging=0.0, messages=0, bytes=0)

    dist.all_reduce = timed
    images = images_of(recipe, "train")
    fit(
        parts.model,
        parts.loss,
        images,
        epochs=epochs,
        batch_size=recipe.batch_size,
        after_step=after_step,
        progress=False,
    )
    dist.all_reduce = all_reduce
    return found[2:]  # the first has no beginning, the second pays for what is done once


def link() -> tuple[float, float]:
    """Return latency in seconds a round and bandwidth in bytes a second, between two processes."""
    middle = {}
    with distributed.sharded_batch([1, 1]):
        for size in (SMALL, LARGE):
            x, seconds = torch.ones(size // 4), []
            for _ in range(20):
                distributed.all_reduce_sum(torch.ones(1))  # begin together
                started = time.perf_counter()
                distributed.all_reduce_sum(x)
                seconds.append(time.perf_counter() - started)
            middle[size] = statistics.median(seconds)
    latency = middle[SMALL] / 2
    return latency, LARGE / 2 / (middle[LARGE] / 2 - latency)


def together(rank: int, recipe: Recipe, epochs: int, folder: str) -> None:
    """Train as one of two, and let the first write what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    found = {"link": link(), "steps": steps(recipe, epochs)}
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    dist.destroy_process_group()


def measure(recipe: Recipe, epochs: int) -> dict[str, float]:
    """Return the figures of a case."""

    def median(found: list[dict[str, float]], name: str) -> float:
        return statistics.median(step[name] for step in found)

    alone = steps(recipe, epochs)
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(together, (recipe, epochs, folder), nprocs=2)
        found = torch.load(Path(folder) / "found.pt")
    (latency, bandwidth), two = found["link"], found["steps"]
    model = build(recipe, "joint").model
    channels = [
        m.num_features
        for m in model.modules()
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ]
    parameters = sum(p.numel() for p in model.parameters())
    told = costs.exchanges(2, recipe.batch_size, recipe.projection, parameters, channels)
    messages = [size for sizes in told.values() for size in sizes]
    modeled = sum(costs.ring_seconds(size, 2, bandwidth, latency) for size in messages)
    return {
        "one process, ms": round(1e3 * median(alone, "seconds"), 1),
        "two processes, ms": round(1e3 * median(two, "seconds"), 1),
        "times as fast": round(median(alone, "seconds") / median(two, "seconds"), 2),
        "exchanging, ms": round(1e3 * median(two, "exchanging"), 2),
        "modeled, ms": round(1e3 * modeled, 2),
        "messages": int(median(two, "messages")),
        "MB": round(median(two, "bytes") / 1e6, 3),
        "MB, modeled": round(sum(messages) / 1e6, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each run")
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    figures = {}
    for name, recipe in CASES.items():
        figures[name] = measure(recipe, epochs)
        print(f"{name:20}", ", ".join(f"{what} {value:g}" for what, value in figures[name].items()))
    save("processes-cpu", f"uv run python benchmarks/processes.py --epochs {epochs}", figures)


if __name__ == "__main__":
    main()
