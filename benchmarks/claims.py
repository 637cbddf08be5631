"""Could each claim of the lessons fail? Would a wrong library make it fail?

    uv run python benchmarks/claims.py [--jobs 2] [--lesson 04] [--fault labels]

Runs lessons with a copy of the library that has one fault of `faults.toml`, each fault in the
lessons that it names, and looks which claims no longer hold. A claim that survives every fault is
listed at the end, unless that file says why it does. Writes benchmarks/results/claims.json; of some
lessons or faults alone, their rows in it.
"""

import argparse
import json
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from common import RESULTS, save
from nbformat import NotebookNode
from tqdm import tqdm

from mmlite.course.claims import read_claims
from mmlite.course.notebooks import (
    code_cells,
    execute,
    find_course,
    find_lessons,
    printed,
    read_notebook,
)

COURSE = find_course(Path(__file__).parent)
LESSONS = find_lessons(COURSE / "lessons", [])
TABLES = tomllib.loads(Path(__file__).with_name("faults.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Fault:
    """One fault of the library.

    Attributes:
        name: what is wrong then.
        lessons: the cells that are run of each lesson that it is tried on, by the lesson's number:
            "all", or their ids, a blank between two; "a..c" is those from a to c.
        file: within the library.
        right: what stands there, once.
        wrong: what is put in its place.
    """

    name: str
    lessons: dict[str, str]
    file: str
    right: str
    wrong: str

    def put_into(self, library: Path) -> None:
        """Change a copy of the library.

        Raises:
            ValueError: what is to be changed is not there, or is there more than once.
        """
        path = library / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.right) != 1:
            raise ValueError(f"{self.file} holds {text.count(self.right)} times {self.right!r}")
        path.write_text(text.replace(self.right, self.wrong), encoding="utf-8")


FAULTS = [Fault(**one) for one in TABLES["faults"]]


@dataclass(frozen=True)
class Run:
    """Which of a lesson's claims fail under a fault, and which hold; others were not reached."""

    lesson: str
    fault: str
    fail: list[str]
    hold: list[str]


def run(lesson: Path, fault: Fault) -> Run:
    """Run a lesson beside a faulty copy of the library, to the end whatever a cell raises."""
    notebook = read_notebook(lesson)
    notebook.cells = chosen_cells(code_cells(notebook), fault.lessons[lesson.stem[:2]])
    for cell in notebook.cells:
        cell.outputs = []
        cell.metadata["tags"] = ["raises-exception"]  # goes on after it
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        shutil.copytree(COURSE / "mmlite", copy / "mmlite")
        (copy / "lessons").mkdir()
        (copy / "benchmarks").symlink_to(COURSE / "benchmarks")
        fault.put_into(copy / "mmlite")
        environment = {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        execute(notebook, copy / "lessons", environment=environment)
    found = read_claims(printed(notebook))
    fail, hold = ([one.statement for one in found if one.holds == holds] for holds in (False, True))
    return Run(lesson.stem[:2], fault.name, fail, hold)


def chosen_cells(cells: list[NotebookNode], asked: str) -> list[NotebookNode]:
    """Return the cells that are asked for, as `Fault.lessons` has it."""
    if asked == "all":
        return cells
    place = {cell.id: index for index, cell in enumerate(cells)}
    stretches = [ids.split("..") for ids in asked.split()]
    return [cell for ids in stretches for cell in cells[place[ids[0]] : place[ids[-1]] + 1]]


def tasks(lesson: str, fault: str) -> Iterator[tuple[Path, Fault]]:
    """Yield each lesson with each fault that is for it."""
    for path in LESSONS:
        for one in FAULTS:
            if path.stem[:2] in one.lessons and path.stem.startswith(lesson) and fault in one.name:
                yield path, one


def tell(runs: list[Run]) -> None:
    """Print how many claims fail under each fault, and those of a lesson that fail under none."""
    for one in runs:
        print(f"{one.lesson}, {one.fault}: {len(one.fail)} fail, {len(one.hold)} hold")
    for path in LESSONS:
        lesson = path.stem[:2]
        broken = {claim for one in runs if one.lesson == lesson for claim in one.fail}
        broken |= {one["claim"] for one in TABLES["alone"] if one["lesson"] == lesson}
        for claim in read_claims(printed(read_notebook(path))):
            if claim.statement not in broken:
                print(f"lesson {lesson} has no fault that breaks: {claim.statement}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--lesson", default="", help="of this one alone, as 04")
    parser.add_argument("--fault", default="", help="with those alone whose name holds this")
    options = parser.parse_args()
    chosen = list(tasks(options.lesson, options.fault))
    known = {(path.stem[:2], fault.name) for path, fault in tasks("", "")}
    stored = RESULTS / "claims.json"
    rows = json.loads(stored.read_text(encoding="utf-8"))["figures"] if stored.exists() else []
    runs = {(row["lesson"], row["fault"]): Run(**row) for row in rows}
    runs = {name: one for name, one in runs.items() if name in known}
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        new = pool.map(run, *zip(*chosen, strict=True))
        for one in tqdm(new, total=len(chosen), unit="run"):
            runs[one.lesson, one.fault] = one
            figures = [asdict(runs[name]) for name in sorted(runs)]
            save("claims", "uv run python benchmarks/claims.py", figures)  # whatever comes next
    tell([runs[name] for name in sorted(runs)])


if __name__ == "__main__":
    main()
