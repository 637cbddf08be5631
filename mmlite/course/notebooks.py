"""The course's notebooks: found, read, executed, and what running one printed."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmlite.course.claims import Claim, read_claims
from mmlite.course.widget_state import VIEW

if TYPE_CHECKING:  # `mmlite bench` looks for the course and does without
    from nbclient import NotebookClient
    from nbformat import NotebookNode

# a student's progress is kept where the first says, or not at all
PROGRESS, OFF = "MMLITE_PROGRESS", "off"
# with this variable a dial's pictures are drawn ahead, and kept under this key of its metadata
FRAMES, FRAMES_KEY = "MMLITE_FRAMES", "mmlite_frames"
CELL_TIMEOUT = 1800  # seconds: a slow laptop needs minutes where two fast cores need one


class LessonError(RuntimeError):
    """A notebook is missing, misshapen or fails; the message says which and where."""


def find_course(start: Path | None = None) -> Path:
    """Return the folder that holds the lessons, or their masters in `solutions/`.

    It is at or above `start`, else the installed clone.

    Raises:
        LessonError: there is none.
    """
    for folder in _places(start):
        if any(_notebooks(folder / place) for place in ("lessons", "solutions")):
            return folder
    raise LessonError(
        f"no lessons/ folder at or above {_places(start)[0]}; run this inside a clone of the course"
    )


def find_in_course(name: str, start: Path | None = None) -> Path:
    """Return a file or folder that a lesson reads, by its name from the course's folder on.

    It is at or above `start`, else in the installed clone.

    Raises:
        LessonError: it is in none of these.
    """
    for folder in _places(start):
        if (folder / name).exists():
            return folder / name
    raise LessonError(
        f"{name} is not at or above {_places(start)[0]}; it comes with the course: open the lesson "
        "in a clone, or in the folder that your teacher gave you, with all that is in it"
    )


def _places(start: Path | None) -> list[Path]:
    """Return where a course may be: from `start` upward, and where this library lies."""
    start = (start or Path.cwd()).resolve()
    return [start, *start.parents, Path(__file__).resolve().parents[2]]


def _notebooks(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def find_lessons(folder: Path, names: list[str]) -> list[Path]:
    """Return the notebooks of `folder` that `names` mean: "01", "01_contrastive" or a path.

    Raises:
        LessonError: there is no notebook, or a name means none of them.
    """
    notebooks = _notebooks(folder)
    if not notebooks:
        raise LessonError(
            f"there are no lessons in {folder}; they are called 01_name.ipynb. (What students get "
            "has no solutions/)"
        )
    if not names:
        return notebooks
    chosen = []
    for name in names:
        places = [path.resolve().parent for path in (Path(name), folder.parent / name)]
        if len(Path(name).parts) > 1 and folder.resolve() not in places:
            raise LessonError(f"{name} is not in {folder}, and only lessons there are taken")
        stem = Path(name).name.removesuffix(".ipynb")
        wanted = f"{int(stem):02d}" if stem.isdecimal() else stem
        found = [path for path in notebooks if path.stem == wanted or path.stem[:2] == wanted]
        if not found:
            known = ", ".join(path.stem for path in notebooks) or "none"
            raise LessonError(f"there is no lesson {name!r} in {folder}; the lessons are: {known}")
        chosen += found
    return chosen


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook in the current format.

    Raises:
        LessonError: the file is missing or is not a notebook.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise LessonError(f"{path} cannot be read: {error.strerror}") from error
    # nbformat reports broken JSON, wrong schemas and wrong encodings in as many ways
    except Exception as error:
        raise LessonError(f"{path} is not a Jupyter notebook ({error})") from error


def execute(
    notebook: NotebookNode,
    folder: Path,
    on_cell: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Run a notebook in place on a fresh kernel of this environment and return the seconds.

    Args:
        notebook: its outputs are replaced.
        folder: the kernel's working folder.
        on_cell: called after each code cell.
        environment: variables that the kernel gets besides.

    Raises:
        LessonError: a cell raises, runs out of time or kills the kernel; outputs up to it stay.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        # neither a word about TCP nor what a kernel says as it is ended is for students
        extra_arguments=["--log-level=CRITICAL"],
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_executed=lambda **_: on_cell(),
    )
    started = time.perf_counter()
    try:
        with _interruptible(client):
            # what a run of ours passes is no student's progress
            client.execute(env={**os.environ, PROGRESS: OFF, **(environment or {})})
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        raise LessonError(f"the notebook stopped: {_plain(str(error))}") from error
    seconds = time.perf_counter() - started
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if not _passes(output)]
        for output in cell.outputs:
            output.get("data", {}).pop(VIEW, None)
    return seconds


@contextlib.contextmanager
def _interruptible(client: NotebookClient) -> Iterator[None]:
    """Let a Ctrl-C end as KeyboardInterrupt, whatever nbclient makes of it.

    It ends the kernel on the signal by itself, and stumbles over that later.
    """
    try:
        yield
    except BaseException as error:  # a canceled wait is no Exception
        if getattr(client, "_async_cleanup_kernel_future", None) is not None:
            raise KeyboardInterrupt from error
        raise


def lesson_names(course: Path) -> dict[str, str]:
    """Return the name of each lesson by its number: {"01": "contrastive"}."""
    notebooks = [*course.glob("lessons/[0-9][0-9]_*.ipynb"), *course.glob("solutions/*.ipynb")]
    return {path.stem[:2]: path.stem[3:] for path in sorted(notebooks)}


@dataclass(frozen=True)
class LessonRun:
    """What running a lesson printed: its claims, and why it stopped early, if it did."""

    claims: list[Claim]
    fault: str | None

    @property
    def passed(self) -> bool:
        return self.fault is None and all(claim.holds for claim in self.claims)


def run(path: Path, on_cell: Callable[[], None] = lambda: None) -> LessonRun:
    """Execute a notebook without changing its file, and return its claims.

    Raises:
        LessonError: the file is missing or is not a notebook.
    """
    notebook = read_notebook(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    fault = None
    try:
        execute(notebook, path.parent, on_cell)
    except LessonError as error:
        fault = str(error)
    return LessonRun(read_claims(printed(notebook)), fault)


def printed(notebook: NotebookNode) -> str:
    """Return all that a notebook's cells printed, without colors; each cell begins a line."""
    text = ""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stdout":
                text += _plain(output.text)
        text += "" if text.endswith("\n") or not text else "\n"
    return text


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that hold code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _passes(output: NotebookNode) -> bool:
    """Whether an output is a progress bar, or what one left: nothing has a place in a notebook."""
    data = output.get("data")
    return data is not None and (not data or str(data.get("text/plain", "")).endswith("/s]"))


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
