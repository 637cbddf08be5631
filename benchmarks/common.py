"""What the benchmarks share: timing in turn, and writing figures down with where they come from."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from mmlite.statistics import paired_difference
from mmlite.support.devices import machine

RESULTS = Path(__file__).with_name("results")


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contender in each round, all of them once a round.

    Two rounds before the first that counts let caches, allocators and compilers settle.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 2):
        for name, run in contenders.items():
            _wait()
            started = time.perf_counter()
            run()
            _wait()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over rounds of slow / fast."""
    return statistics.median(_ratios(slow, fast))


def ratio_quartiles(slow: list[float], fast: list[float]) -> list[float]:
    """Return the quartiles over two rounds or more of slow / fast; the second is the median."""
    return statistics.quantiles(_ratios(slow, fast), n=4)


def _ratios(slow: list[float], fast: list[float]) -> list[float]:
    return [s / f for s, f in zip(slow, fast, strict=True)]


def summarize(
    rows: Sequence[Mapping[str, float]], claims: Mapping[str, tuple[str, str]]
) -> dict[str, object]:
    """Print and return the means over seeds, and the paired differences that a lesson claims.

    Args:
        rows: the figures of each seed by name.
        claims: for each claim the two figures whose difference it is.
    """
    means = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    print("\nmean over seeds")
    for name, mean in means.items():
        print(f"  {name:44} {mean:.3f}")
    differences = {}
    print("paired differences: mean [95 % interval], least")
    for name, (a, b) in claims.items():
        interval = paired_difference([row[a] for row in rows], [row[b] for row in rows])
        each = [row[a] - row[b] for row in rows]
        least = min(each, key=lambda value: value * (1 if interval.mean > 0 else -1))
        differences[name] = {**interval._asdict(), "least": least}
        print(f"  {name:44} {interval}, least {least:+.3f}")
    return {"means": means, "paired differences": differences}


def save(name: str, command: str, figures: object) -> None:
    """Write figures with the command, the machine and the day to benchmarks/results/."""
    RESULTS.mkdir(exist_ok=True)
    record = {
        "command": command,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "date": date.today().isoformat(),
        "figures": figures,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def in_a_new_process(script: str, *arguments: object) -> Any:
    """Return what a script, run once more with `--only`, prints last, read as JSON."""
    command = [sys.executable, script, "--only", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
