"""What keeping freed memory buys: epochs of `fit` on a CPU with it and without.

    uv run python benchmarks/memory.py [--rounds 7]

Each measurement is a new process, with and without in turn, for an allocator remembers what it did
before: milliseconds, page faults and the kernel's share of the time, of a step of the method simclr
after a first epoch, and the most memory that the process ever held. Prints medians over rounds and
the median ratio within a round; writes benchmarks/results/memory.json.
"""

import argparse
import json
import resource
import statistics
import time
from contextlib import nullcontext

import torch
from common import in_a_new_process, median_ratio, save
from training import PROBLEMS, ours

from mmlite.data import ImageSet
from mmlite.training import run

WAYS = ("kept", "given back")
EPOCHS, STEPS = 3, {"small_conv": 20, "resnet18": 4}


def measure(name: str, way: str) -> dict[str, float]:
    """Return what a step costs in this process."""
    if way == "given back":
        run.kept_memory = nullcontext
    recipe, side, batch, _ = PROBLEMS[name]
    steps = STEPS[name]
    pixels = torch.randint(0, 256, (batch * steps, 3, side, side), dtype=torch.uint8)
    images = ImageSet(pixels, torch.zeros(len(pixels), dtype=torch.int64), ("none",))
    first = ours(recipe.replace(batch_size=batch), images)
    first()
    epochs = ours(recipe.replace(batch_size=batch), images, epochs=EPOCHS)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    epochs()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    count = EPOCHS * steps
    return {
        "milliseconds a step": 1e3 * seconds / count,
        "of them in the kernel": 1e3 * (after.ru_stime - before.ru_stime) / count,
        "page faults a step": (after.ru_minflt - before.ru_minflt) / count,
        "most memory, MB": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)  # what a new process is for
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*options.only)))
        return
    figures = {}
    for name in PROBLEMS:
        rounds = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                rounds[way].append(in_a_new_process(__file__, name, way))
        kept, given_back = ([one["milliseconds a step"] for one in rounds[way]] for way in WAYS)
        figures[name] = {
            way: {
                what: round(statistics.median(one[what] for one in rounds[way]), 1)
                for what in rounds[way][0]
            }
            for way in WAYS
        } | {"times as fast with memory kept": round(median_ratio(given_back, kept), 3)}
        print(name, json.dumps(figures[name], indent=1))
    save("memory", f"uv run python benchmarks/memory.py --rounds {options.rounds}", figures)


if __name__ == "__main__":
    main()
