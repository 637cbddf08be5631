"""A small study for the tests: its protocol, and results that were not trained."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmlite.experiments.study.cells import MAIN, TUNING, Cell, Results
from mmlite.experiments.study.protocol import Protocol
from mmlite.experiments.study.protocol_file import read_protocol

TEXT = """
name = "Does it help?"
version = 1
changes = []

[recipe]
data = "fashion"
encoder = "small_conv"
images = 96
dim = 8
hidden = 8
projection = 4
epochs = 1
batch_size = 32

[images]
validation = 64

[worlds.clean]
about = "as they are"
numbers = { jitter = 0.0, gray = 0.0 }
outer = { jitter = 0.8 }

[arms.untrained]
about = "first weights"
method = "untrained"

[arms.joint]
about = "no mask"
method = "joint"
numbers = { epochs = 2 }

[arms.mask]
about = "a mask"
method = "metamask"
schedule = "lookahead"

[arms.frozen]
about = "a frozen mask"
method = "metamask"
shuffled_mask_of = "mask"

[tuning]
world = "clean"
first_seeds = [0, 1]
finalists = 2
more_seeds = [2]
settings = ["learning_rate", "temperature"]
configurations = [[0.002, 0.2], [0.004, 0.1], [0.001, 0.4]]

[main]
worlds = ["clean"]
seeds = [10, 11, 12, 13]

[primary]
world = "clean"
reading = ["mask", "kNN", "masked"]
above = [["joint", "kNN", "whole"], ["mask", "kNN", "shuffled"]]
level = 0.025
margin = 0.01

[secondary]
level = 0.05
differences = [
  ["clean", ["mask", "kNN", "whitened"], ["mask", "kNN", "masked"]],
  ["clean", ["mask", "probe", "masked"], ["mask", "probe", "shuffled"]],
  ["clean", ["frozen", "kNN", "masked"], ["joint", "kNN", "whole"]],
]
"""
Score = Callable[[Cell, str, str], float]  # of a cell, a reader and a reading


def protocol(folder: Path, *changes: tuple[str, str]) -> Protocol:
    """Return the small protocol with some of its text replaced."""
    return read_protocol(written(folder, *changes))


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the small protocol with some of its text replaced, and return the file."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def line(protocol: Protocol, cell: Cell, score: Score) -> dict[str, Any]:
    """Return a line of results with these accuracies."""
    readers = ("kNN",) if cell.stage == TUNING else ("kNN", "probe", "1 % labels", "10 % labels")
    readings = protocol.arms[cell.arm].readings
    found = {
        "protocol": protocol.checksum,
        **vars(cell),
        "readings": {
            reader: {reading: score(cell, reader, reading) for reading in readings}
            for reader in readers
        },
        "seconds": {"training": 1.0, "reading": 0.5},
        "machine": "a machine",
    }
    return found | ({"logits": [0.0, 1.0]} if cell.arm == "mask" else {})


def complete(protocol: Protocol, score: Score) -> Results:
    """Return results with all cells done."""
    results = Results(protocol)
    for cell in every(results):
        results.add(line(protocol, cell, score))
    return results


def every(results: Results) -> Iterator[Cell]:
    """Yield the cells that are to do, one by one; each has to be done before the next."""
    while to_do := results.to_do():
        yield to_do[0]


def flat(cell: Cell, reader: str, reading: str) -> float:
    """Score everything alike, but that seeds differ."""
    return 0.7 + (cell.seed % 10) / 100


def main_cell(arm: str, seed: int = 10, configuration: int | None = 0) -> Cell:
    return Cell(MAIN, "clean", arm, seed, configuration)
