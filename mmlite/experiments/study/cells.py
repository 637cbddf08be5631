"""The runs of a study, and which of them can start now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mmlite.experiments.study.protocol import Protocol

TUNING, MAIN = STAGES = ("tuning", "main")
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run: an arm in a world with a seed and one of the configurations.

    Attributes:
        stage: "tuning" or "main".
        world, arm: by name.
        seed: of images, weights, order and views.
        configuration: its place in the protocol; None for an arm without training.
    """

    stage: str
    world: str
    arm: str
    seed: int
    configuration: int | None

    @classmethod
    def of(cls, line: Line) -> "Cell":
        """Return the cell that a line of the results is of."""
        return cls(*(line[key] for key in ("stage", "world", "arm", "seed", "configuration")))


class Results:
    """The results so far, by cell, and what a protocol makes of them.

    Args:
        protocol: the study's.
        lines: of its results.
    """

    def __init__(self, protocol: Protocol, lines: Iterable[Line] = ()) -> None:
        self.protocol = protocol
        self.lines = {Cell.of(line): line for line in lines}

    def add(self, line: Line) -> None:
        self.lines[Cell.of(line)] = line

    def finalists(self, arm: str) -> list[int] | None:
        """Return the configurations that go on to more seeds, best first; None if too early."""
        tuning = self.protocol.tuning
        ranked = self._ranked(arm, range(len(tuning.configurations)), tuning.first_seeds)
        return None if ranked is None else ranked[: tuning.finalists]

    def chosen(self, arm: str) -> int | None:
        """Return the configuration that tuning chose for an arm; None if too early."""
        tuning, finalists = self.protocol.tuning, self.finalists(arm)
        if finalists is None:
            return None
        ranked = self._ranked(arm, finalists, (*tuning.first_seeds, *tuning.more_seeds))
        return None if ranked is None else ranked[0]

    def mask(self, cell: Cell) -> list[float] | None:
        """Return the logits of the learned mask that a cell of a frozen arm needs.

        None if it is not there yet, or the arm needs none.
        """
        source = self.protocol.arms[cell.arm].shuffled_mask_of
        if source is None or (chosen := self.chosen(source)) is None:
            return None
        line = self.lines.get(Cell(cell.stage, cell.world, source, cell.seed, chosen))
        return None if line is None else line.get("logits")

    def to_do(self, only: Iterable[str] | None = None) -> list[Cell]:
        """Return the cells that are not done and can start now, in the protocol's order.

        Args:
            only: the arms to run, and those that they need; by default all of them.
        """
        arms = self._with_sources(only)
        cells = [cell for arm in arms if self.protocol.arms[arm].trains for cell in self._tune(arm)]
        main = (
            Cell(MAIN, world, arm, seed, configuration)
            for world in self.protocol.main_worlds
            for seed in self.protocol.seeds
            for arm, configuration in ((arm, self.chosen(arm)) for arm in arms)
            if configuration is not None or not self.protocol.arms[arm].trains
        )
        return [cell for cell in (*cells, *main) if cell not in self.lines and self._ready(cell)]

    def left(self, only: Iterable[str] | None = None) -> dict[str, int]:
        """Return how many runs of each arm are not done, whether they can start or not."""
        protocol, tuning = self.protocol, self.protocol.tuning
        first = len(tuning.configurations) * len(tuning.first_seeds)
        tunings = first + tuning.finalists * len(tuning.more_seeds)
        mains = len(protocol.main_worlds) * len(protocol.seeds)
        done = [cell.arm for cell in self.lines]
        return {
            arm: mains + tunings * protocol.arms[arm].trains - done.count(arm)
            for arm in self._with_sources(only)
        }

    def _with_sources(self, only: Iterable[str] | None) -> list[str]:
        arms = self.protocol.arms
        wanted = set(arms if only is None else only)
        wanted |= {source for arm in wanted if (source := arms[arm].shuffled_mask_of) is not None}
        return [arm for arm in arms if arm in wanted]

    def _tune(self, arm: str) -> list[Cell]:
        """Return an arm's cells of tuning, as far as they are known."""
        tuning = self.protocol.tuning
        rounds: list[tuple[Iterable[int], Sequence[int]]] = [
            (range(len(tuning.configurations)), tuning.first_seeds)
        ]
        if (finalists := self.finalists(arm)) is not None:
            rounds.append((finalists, tuning.more_seeds))
        return [
            Cell(TUNING, tuning.world, arm, seed, configuration)
            for configurations, seeds in rounds
            for seed in seeds
            for configuration in configurations
        ]

    def _ready(self, cell: Cell) -> bool:
        frozen = self.protocol.arms[cell.arm].shuffled_mask_of is not None
        return not frozen or self.mask(cell) is not None

    def _ranked(
        self, arm: str, configurations: Iterable[int], seeds: Sequence[int]
    ) -> list[int] | None:
        """Return configurations by their means over tuning seeds, best first; None if too early.

        Of equal ones the first in the protocol goes first.
        """
        scores: dict[int, float] = {}
        for one in configurations:
            if (score := self._score(arm, one, seeds)) is None:
                return None
            scores[one] = score
        return sorted(scores, key=lambda c: (-scores[c], c))

    def _score(self, arm: str, configuration: int, seeds: Iterable[int]) -> float | None:
        """Return the mean of a configuration over tuning seeds; −1 if one of its runs failed."""
        tuning, reading = self.protocol.tuning, self.protocol.arms[arm].tuned_by
        cells = [Cell(TUNING, tuning.world, arm, seed, configuration) for seed in seeds]
        if any(cell not in self.lines for cell in cells):
            return None
        lines = [self.lines[cell] for cell in cells]
        if any("failed" in line for line in lines):
            return -1.0
        return fmean(line["readings"]["kNN"][reading] for line in lines)
