"""Runs killed at random moments: whether they end, bit by bit, as one that was never killed.

    uv run python benchmarks/resume.py [--kills 20]

Starts tests/interrupted.py, a small run with MetaMask that writes a checkpoint after every step,
kills the process (SIGKILL) at a random moment after its first step began and starts it again, and
so on; a run that comes to its end is compared with one that was never killed, and the next begins.
Half of the kills are of the paper's schedule, half of the lookahead. Writes
benchmarks/results/resume.json; exit code 1 if one bit differs. Works where there is a SIGKILL.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import save
from tqdm import tqdm

SCRIPT = Path(__file__).resolve().parents[1] / "tests" / "interrupted.py"


def equal(a, b) -> bool:
    """Whether two nests of dictionaries and tensors are the same bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def start(method: str, folder: Path) -> subprocess.Popen:
    """Return the process, at the moment when it begins to train."""
    command = [sys.executable, str(SCRIPT), method, str(folder), "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout.readline() != "begin\n":
        raise RuntimeError("the run did not begin; run tests/interrupted.py by hand to see why")
    return process


def finish(method: str, folder: Path) -> tuple[float, dict]:
    """Let a run come to its end; return the seconds it trained and what it ended with."""
    process = start(method, folder)
    rest, _ = process.communicate(timeout=600)
    return float(rest), torch.load(folder / "final.pt", weights_only=True)


def kill_and_go_on(method: str, kills: int, draw: random.Random, bar: tqdm) -> dict[str, int]:
    """Return how many kills there were, what they hit, and how many runs ended as they should."""
    seen = {"kills": 0, "within a save": 0, "runs": 0, "bit-identical": 0}
    with tempfile.TemporaryDirectory() as name:
        seconds, wanted = finish(method, Path(name) / "whole")
        while seen["kills"] < kills:
            folder = Path(name) / f"run{seen['runs']}"
            for _ in range(min(draw.randint(3, 6), kills - seen["kills"])):
                process = start(method, folder)
                try:
                    process.wait(draw.uniform(0, 0.5 * seconds))
                except subprocess.TimeoutExpired:
                    process.kill()
                    seen["kills"] += 1
                    bar.update()
                process.communicate()
                seen["within a save"] += (folder / "last.pt.tmp").exists()
                if (folder / "final.pt").exists():
                    break
            seen["runs"] += 1
            seen["bit-identical"] += equal(finish(method, folder)[1], wanted)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="in all")
    kills, draw = parser.parse_args().kills, random.Random(0)
    with tqdm(total=kills, unit="kill") as bar:
        figures = {
            method: kill_and_go_on(method, share, draw, bar)
            for method, share in (("metamask", kills - kills // 2), ("lookahead", kills // 2))
        }
    for method, seen in figures.items():
        print(f"{method:10} " + ", ".join(f"{count} {what}" for what, count in seen.items()))
    save("resume", f"uv run python benchmarks/resume.py --kills {kills}", figures)
    return 0 if all(seen["runs"] == seen["bit-identical"] for seen in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
