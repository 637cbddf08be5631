"""From master to lesson: answers become stubs, hidden tests go, and nothing of either is left.

`solutions/*.ipynb` are the only place where a notebook is written; both are stored executed, with
the time that took. The markers are nbgrader's, and are found as nbgrader finds them: anywhere in a
line.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmlite.course.notebooks import FRAMES, LessonError, execute, read_notebook
from mmlite.support.devices import machine
from mmlite.support.files import replacing

if TYPE_CHECKING:  # `mmlite bench` does without notebooks' packages
    from nbformat import NotebookNode

SOLUTION, HIDDEN, SCHEME = "SOLUTION", "HIDDEN TESTS", "MARK SCHEME"
# how a marker may be meant that nbgrader, and so this file, does not know
MEANT = re.compile(
    r"\b(begin|start|end)[\W_]{0,4}(the[\W_])?(solution|answer|hidden|mark[\W_]?scheme)", re.I
)
TEXT_STUB = "YOUR ANSWER HERE"
# what a current kernel of any name runs, and what JupyterLab finds on each machine
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
CELL_METADATA = {"nbgrader", "tags", "slideshow", "editable", "deletable", "jupyter"}


def tidy(notebook: NotebookNode) -> None:
    """Take from a notebook what its author's machine left: its kernel, times, states of widgets."""
    notebook.metadata = {
        "kernelspec": dict(KERNEL),
        **{k: v for k, v in notebook.metadata.items() if k in ("language_info", "mmlite")},
    }
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in CELL_METADATA}


def student_version(master: NotebookNode) -> NotebookNode:
    """Return a copy of a master without answers, hidden tests and outputs.

    Raises:
        LessonError: a marker has no partner or is no marker, a solution cell of code has no answer
            marked, or cells have no ids.
    """
    if any("id" not in cell for cell in master.cells):
        raise LessonError(
            f"the master is in notebook format {master.nbformat}.{master.nbformat_minor}, whose "
            "cells have no ids; open and save it in a current JupyterLab"
        )
    from nbformat import from_dict

    lesson = from_dict(master)
    tidy(lesson)
    lesson.metadata.pop("mmlite", None)
    for cell in lesson.cells:
        where = f"cell {cell.id}"
        _take_out_answer(cell, where)
        for kind in (HIDDEN, SCHEME):
            cell.source = _replace_regions(cell.source, kind, lambda indent: "", where)
        if cell.cell_type == "code":
            cell.source = cell.source.rstrip()
            cell.outputs, cell.execution_count = [], None
        if left := marker_in(cell.source):
            raise LessonError(
                f"{where} holds {left!r}, which looks like a marker but is not one; markers are "
                "### BEGIN SOLUTION and ### END SOLUTION, ### BEGIN HIDDEN TESTS and ### END "
                "HIDDEN TESTS"
            )
    return lesson


def marker_in(source: str) -> str | None:
    """Return the first line of a cell that is a marker or looks like one."""
    return next((line.strip() for line in source.splitlines() if MEANT.search(line)), None)


def _take_out_answer(cell: NotebookNode, where: str) -> None:
    is_answer = cell.metadata.get("nbgrader", {}).get("solution")
    marked = f"BEGIN {SOLUTION}" in cell.source
    if cell.cell_type == "code":
        if is_answer and not marked:
            raise LessonError(f"{where} is a solution cell without '### BEGIN {SOLUTION}'")
        stub = _code_stub(cell.source)
    else:
        stub = TEXT_STUB
        if is_answer:
            cell.pop("attachments", None)  # pictures of the answer
            if not marked:
                cell.source = stub
    cell.source = _replace_regions(
        cell.source, SOLUTION, lambda indent: textwrap.indent(f"{stub}\n", indent), where
    )


def _code_stub(source: str) -> str:
    """Return the lines that stand in for an answer; they name the exercise's function."""
    match = re.search(r"def (\w+)", source)
    name = match[1] if match else "this cell"
    return f'# YOUR CODE HERE\nraise NotImplementedError("{name} is yours to write")'


def _replace_regions(source: str, kind: str, stand_in: Callable[[str], str], where: str) -> str:
    """Replace everything from a line with "BEGIN kind" to the next with "END kind", both included.

    Args:
        source: a cell's.
        kind: as "SOLUTION".
        stand_in: makes the new lines, given the first marker's indentation.
        where: the cell, for errors.
    """
    begin, end = f"BEGIN {kind}", f"END {kind}"
    kept, inside = [], False
    for line in source.splitlines(keepends=True):
        if begin in line:
            if inside:
                raise LessonError(f"{where}: a second '### {begin}' before '### {end}'")
            inside = True
            kept.append(stand_in(line[: len(line) - len(line.lstrip())]))
        elif end in line:
            if not inside:
                raise LessonError(f"{where}: '### {end}' without '### {begin}'")
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise LessonError(f"{where}: '### {begin}' without '### {end}'")
    return "".join(kept)


def build(master_path: Path, lesson_path: Path, on_cell: Callable[[], None]) -> None:
    """Execute a master in place, then make, execute and write its lesson.

    Raises:
        LessonError: the master or the lesson does not run to its end; nothing is written then.
    """
    import nbformat

    master = read_notebook(master_path)
    made = {master_path: master, lesson_path: student_version(master)}
    for path, notebook in made.items():
        tidy(notebook)
        # the masters are for teachers, who have Python
        frames = {FRAMES: "1"} if path == lesson_path else {}
        seconds = execute(notebook, lesson_path.parent, on_cell, frames)
        notebook.metadata["mmlite"] = {"seconds": round(seconds), "machine": machine()}
        nbformat.validate(notebook)
    for path, notebook in made.items():  # each whole or not at all
        with replacing(path) as draft:
            nbformat.write(notebook, draft)


def stale(master_path: Path, lesson_path: Path) -> list[str]:
    """Return in sentences how a lesson differs from what its master would make; none if fresh."""
    name = lesson_path.name
    if not lesson_path.exists():
        return [f"{name} is missing"]
    wanted, found = student_version(read_notebook(master_path)), read_notebook(lesson_path)
    if [cell.id for cell in wanted.cells] != [cell.get("id") for cell in found.cells]:
        return [f"{name} has other cells than its master, or another order"]
    faults = [
        f"{name}, cell {have.id}: its source or metadata is not what the master makes"
        for want, have in zip(wanted.cells, found.cells, strict=True)
        if _content(want) != _content(have)
    ]
    if found.metadata.get("kernelspec") != KERNEL:
        faults.append(f"{name} does not ask for the kernel {KERNEL['name']}")
    return faults


def _content(cell: NotebookNode) -> dict:
    return {key: value for key, value in cell.items() if key not in ("outputs", "execution_count")}
