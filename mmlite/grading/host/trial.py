"""Before a class is marked: does the sandbox run what answers need, and mark as it should?

An environment's fault is never a student's. So a worker, held as every student's is, looks for
Python's own modules and imports some that are not loaded yet; then right answers have to earn their
points, and wrong ones none.
"""

import importlib.util
import json
import sys
from typing import Any

from mmlite.course.notebooks import LessonError
from mmlite.grading.host.remote import Settings, WorkerError

SETTINGS = Settings(timeout=300)  # the machine may be busy; nothing hostile runs here
# packages that answers import although a worker has not yet: what comes with the course, and
# modules of Python in each of its folders
IMPORTED = (
    "fileinput", "wave", "csv", "unittest.mock", "xml.dom.minidom", "concurrent.futures",
    "multiprocessing", "statistics", "numpy.polynomial", "scipy.stats", "scipy.spatial.distance",
    "matplotlib.colors", "tqdm.auto",
)  # fmt: skip
SOURCE = """
import importlib, importlib.util

def lacking(found, imported):
    faults = []
    for name in found:
        spec = importlib.util.find_spec(name)
        try:
            if spec.has_location:
                open(spec.origin, "rb").close()
        except (AttributeError, OSError) as error:
            faults.append(f"{name} ({error})")
    for name in imported:
        try:
            importlib.import_module(name)
        except Exception as error:
            faults.append(f"{name} ({error})")
    return faults
"""


def check(sandbox: Any) -> None:
    """Have a worker find Python's modules and import some.

    Args:
        sandbox: a `Sandbox` or a `Container`.

    Raises:
        LessonError: it cannot; a student would get the blame.
    """
    here = [name for name in sorted(sys.stdlib_module_names) if _is_here(name)]
    imported = [name for name in IMPORTED if _is_here(name.partition(".")[0])]
    with sandbox.worker(SETTINGS) as worker:
        try:
            worker.load(order(SOURCE, "lacking"))
            lacking = worker.call("lacking", (here, imported), [])
        except WorkerError as error:
            raise LessonError(f"a trial failed: {type(error).__name__}: {error}") from error
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise LessonError(
            f"an answer could not import {', '.join(map(str, lacking[:3]))}{more}; Python has to "
            "lie where every user may read it, or the grader be run by an ordinary user"
        )


def order(source: str, function: str) -> dict[str, Any]:
    """Return what makes a worker load a function from a notebook of one cell."""
    notebook = {"cells": [{"cell_type": "code", "source": source}]}
    return {
        "notebook": json.dumps(notebook).encode(),
        "library": {},
        "withheld": {},
        "function": function,
        "wanted": [function],
        "own": [],
    }


def _is_here(name: str) -> bool:
    try:
        return not name.startswith("_") and importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
