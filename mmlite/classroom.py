"""From master to lesson: a student's copy made from the solutions, executed, checked, handed out.

`solutions/*.ipynb` are the only place where a notebook is written. A lesson is its master with the
answers replaced by stubs and the hidden tests taken out, by nbgrader's own markers; both are stored
executed, with the time that took.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmlite.claims import Claim, read_claims

if TYPE_CHECKING:  # `mmlite bench` looks for the course and does without
    from nbclient import NotebookClient
    from nbformat import NotebookNode

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
CELL_TIMEOUT = 1800  # seconds: a slow laptop needs minutes where two fast cores need one


class LessonError(RuntimeError):
    """A notebook is missing, misshapen or fails; the message says which and where."""


def find_course(start: Path | None = None) -> Path:
    """Return the folder that holds the lessons, or their masters in `solutions/`.

    It is at or above `start`, else the installed clone.

    Raises:
        LessonError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents, Path(__file__).resolve().parents[1]):
        if any(_notebooks(folder / place) for place in ("lessons", "solutions")):
            return folder
    raise LessonError(
        f"no lessons/ folder at or above {start}; run this inside a clone of the course"
    )


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


def student_version(master: NotebookNode) -> NotebookNode:
    """Return a copy of a master without answers, hidden tests and outputs.

    Raises:
        LessonError: a marker has no partner, a solution cell has no answer marked, or cells have
            no ids.
    """
    if any("id" not in cell for cell in master.cells):
        raise LessonError(
            f"the master is in notebook format {master.nbformat}.{master.nbformat_minor}, whose "
            "cells have no ids; open and save it in a current JupyterLab"
        )
    from nbformat import from_dict

    lesson = from_dict(master)
    lesson.metadata.pop("mmlite", None)
    for cell in lesson.cells:
        if cell.cell_type != "code":
            continue
        where = f"cell {cell.id}"
        if cell.metadata.get("nbgrader", {}).get("solution") and BEGIN_SOLUTION not in cell.source:
            raise LessonError(f"{where} is a solution cell without {BEGIN_SOLUTION!r}")
        cell.source = _replace_regions(cell.source, BEGIN_SOLUTION, END_SOLUTION, _stub, where)
        cell.source = _replace_regions(
            cell.source, BEGIN_HIDDEN, END_HIDDEN, lambda indent, source: "", where
        ).rstrip()
        cell.outputs, cell.execution_count = [], None
    return lesson


def _stub(indent: str, source: str) -> str:
    """Return the lines that stand in for an answer; they name the exercise's function."""
    match = re.search(r"def (\w+)", source)
    name = match[1] if match else "this cell"
    return (
        f'{indent}# YOUR CODE HERE\n{indent}raise NotImplementedError("{name} is yours to write")\n'
    )


def _replace_regions(
    source: str, begin: str, end: str, stand_in: Callable[[str, str], str], where: str
) -> str:
    """Replace everything from a line `begin` to the next line `end`, both included."""
    kept, indent = [], None
    for line in source.splitlines(keepends=True):
        if line.strip() == begin:
            if indent is not None:
                raise LessonError(f"{where}: a second {begin!r} before {end!r}")
            indent = line[: len(line) - len(line.lstrip())]
            kept.append(stand_in(indent, source))
        elif line.strip() == end:
            if indent is None:
                raise LessonError(f"{where}: {end!r} without {begin!r}")
            indent = None
        elif indent is None:
            kept.append(line)
    if indent is not None:
        raise LessonError(f"{where}: {begin!r} without {end!r}")
    return "".join(kept)


def execute(
    notebook: NotebookNode, folder: Path, on_cell: Callable[[], None] = lambda: None
) -> float:
    """Run a notebook in place on a fresh kernel of this environment and return the seconds.

    Args:
        notebook: its outputs are replaced.
        folder: the kernel's working folder.
        on_cell: called after each code cell.

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
            client.execute()
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        raise LessonError(f"the notebook stopped: {_plain(str(error))}") from error
    seconds = time.perf_counter() - started
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if not _passes(output)]
        for output in cell.outputs:
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return seconds


@contextlib.contextmanager
def _interruptible(client: NotebookClient) -> Iterator[None]:
    """Let a Ctrl-C end as KeyboardInterrupt, whatever nbclient makes of it.

    It ends the kernel on the signal by itself, and stumbles over that later.
    """
    try:
        yield
    except BaseException as error:  # a cancelled wait is no Exception
        if getattr(client, "_async_cleanup_kernel_future", None) is not None:
            raise KeyboardInterrupt from error
        raise


def build(master_path: Path, lesson_path: Path, on_cell: Callable[[], None]) -> None:
    """Execute a master in place, then make, execute and write its lesson.

    Raises:
        LessonError: the master or the lesson does not run to its end; nothing is written then.
    """
    import nbformat

    master = read_notebook(master_path)
    made = {master_path: master, lesson_path: student_version(master)}
    for notebook in made.values():
        seconds = execute(notebook, lesson_path.parent, on_cell)
        notebook.metadata["mmlite"] = {"seconds": round(seconds), "machine": machine()}
        nbformat.validate(notebook)
    for path, notebook in made.items():  # each whole or not at all
        draft = path.with_name(f".{path.name}.part")
        nbformat.write(notebook, draft)
        os.replace(draft, path)


def machine() -> str:
    """Return the processor, its cores and torch's version: where a time was measured."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(), flags=re.MULTILINE)
        model = names[0].strip() if names else model
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores{gpu}, torch {torch.__version__.split('+')[0]}"


def stale(master_path: Path, lesson_path: Path) -> list[str]:
    """Return in sentences how a lesson differs from what its master would make; none if fresh."""
    if not lesson_path.exists():
        return [f"{lesson_path.name} is missing"]
    wanted = student_version(read_notebook(master_path)).cells
    found = read_notebook(lesson_path).cells
    if [cell.id for cell in wanted] != [cell.get("id") for cell in found]:
        return [f"{lesson_path.name} has other cells than its master, or another order"]
    return [
        f"{lesson_path.name}, cell {have.id}: its source is not what the master makes"
        for want, have in zip(wanted, found, strict=True)
        if (want.source, want.cell_type, want.metadata)
        != (have.source, have.cell_type, have.metadata)
    ]


def lesson_names(course: Path) -> dict[str, str]:
    """Return the name of each lesson by its number: {"01": "contrastive"}."""
    notebooks = [*course.glob("lessons/[0-9][0-9]_*.ipynb"), *course.glob("solutions/*.ipynb")]
    return {path.stem[:2]: path.stem[3:] for path in sorted(notebooks)}


# What a student needs beside the lessons to run them; the library is what `pip install` takes.
RELEASED = ("README.md", "LICENSE", "pyproject.toml", "environment.yml", "mmlite")


def release(course: Path, target: Path) -> list[str]:
    """Write what students get into a new folder, or into a zip if `target` ends in .zip.

    That is the lessons, fresh from their masters as far as these are here, and the library with
    what installs it. The library is open and holds the exercises' references, as every library
    that explains itself does; the masters, with their answers and hidden tests, stay here.

    Returns:
        The names of the files.

    Raises:
        LessonError: there are no lessons, one is not what its master makes, or `target` is there
            and not empty.
    """
    lessons = find_lessons(course / "lessons", [])
    for lesson in lessons:
        master = course / "solutions" / lesson.name
        if master.exists() and (faults := stale(master, lesson)):
            raise LessonError(f"{faults[0]}; run mmlite lessons build first")
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise LessonError(f"{target} is there already; name a new folder or zip")
    found = [course / name for name in RELEASED]
    files = lessons + [f for path in found for f in ([path] if path.is_file() else _below(path))]
    names = {path.relative_to(course).as_posix(): path for path in files}
    if target.suffix == ".zip":
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in names.items():
                archive.write(path, f"{target.stem}/{name}")
    else:
        for name, path in names.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(path.read_bytes())
    return list(names)


def _below(folder: Path) -> list[Path]:
    """Return a folder's files, without what Python leaves there."""
    return [f for f in sorted(folder.rglob("*")) if f.is_file() and "__pycache__" not in f.parts]


@dataclass(frozen=True)
class Run:
    """What running a lesson printed: its claims, and why it stopped early, if it did."""

    claims: list[Claim]
    fault: str | None

    @property
    def passed(self) -> bool:
        return self.fault is None and all(claim.holds for claim in self.claims)


def run(path: Path, on_cell: Callable[[], None] = lambda: None) -> Run:
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
    return Run(read_claims(printed(notebook)), fault)


def printed(notebook: NotebookNode) -> str:
    """Return all that a notebook's cells printed; each cell begins on a line of its own."""
    text = ""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stdout":
                text += output.text
        text += "" if text.endswith("\n") or not text else "\n"
    return text


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that hold code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _passes(output: NotebookNode) -> bool:
    """Whether an output is a progress bar, which has no place in a stored notebook."""
    text = str(output.get("data", {}).get("text/plain", ""))
    return text.endswith("/s]")


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
