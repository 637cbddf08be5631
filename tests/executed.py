"""The ways to execute a notebook whole that teachers have, and how their outputs are compared."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import labs
import nbformat

from mmlite.course.claims import masked
from mmlite.course.release import READ_BY_LESSONS

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 1800  # seconds a cell may take on a busy machine
Environment = dict[str, str]


def run(
    *command: str, environment: Environment | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess:
    # nbgrader calls alembic by its name
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | (environment or {})
    command = [sys.executable, "-m", *command]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def by_nbval(path: Path, environment: Environment) -> str:
    """Have nbval execute and compare a notebook; return what it finds, or nothing."""
    done = pytest_nbval(str(path), environment=environment)
    return done.stdout[-5000:] if done.returncode else ""


def pytest_nbval(*arguments: str, environment: Environment | None = None):
    command = ["pytest", "-q", "-p", "no:cacheprovider", "--nbval", *arguments]
    return run(*command, environment=environment)


def by_browser(path: Path, environment: Environment) -> str:
    """Run a notebook in JupyterLab, in a browser, and open it again; return what differs.

    Raises:
        AssertionError: a slider does nothing, or the second day shows less than the first.
    """
    with tempfile.TemporaryDirectory() as name:
        course = Path(name)
        shutil.copytree(path.parent, course / "lessons")
        for part in READ_BY_LESSONS:
            (course / part).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, course / part)
        saved, moved = labs.three_days(course, path.stem, **environment)
        assert moved >= 1, "no slider was found"
        return differences(path, saved)


def by_nbclient(path: Path, environment: Environment) -> str:
    """Execute a notebook with nbconvert, so with nbclient as it is; return what differs."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--ExecutePreprocessor.timeout={TIMEOUT}", f"--output-dir={folder}"]
        command = ["nbconvert", "--to=notebook", "--execute", *options, str(path)]
        done = run(*command, environment=environment)
        if done.returncode:
            return done.stderr[-5000:]
        return differences(path, Path(folder, path.name))


def by_nbgrader(path: Path, environment: Environment) -> str:
    """Have nbgrader execute a notebook as a submission to its master; return what differs."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name, "submitted", "ada", "solutions", path.name)
        place.parent.mkdir(parents=True)
        place.write_bytes(path.read_bytes())
        for step in ("generate_assignment", "autograde"):
            done = nbgrader(Path(name), step, path.stem, environment=environment)
            if done.returncode:
                return done.stderr[-5000:]
        return differences(path, Path(name, "autograded", "ada", "solutions", path.name))


def nbgrader(
    folder: Path,
    step: str,
    notebook: str,
    course: Path = ROOT,
    environment: Environment | None = None,
):
    """Run a step as the README has it: `solutions` is the assignment, its parent the source."""
    options = [
        f"--notebook={notebook}",
        f"--CourseDirectory.source_directory={course}",
        f"--ExecutePreprocessor.timeout={TIMEOUT}",
    ]
    return run("nbgrader", step, "solutions", *options, environment=environment, cwd=folder)


RUNNERS: dict[str, Callable[[Path, Environment], str]] = {
    "nbval": by_nbval,
    "browser": by_browser,
    "nbclient": by_nbclient,
    "nbgrader": by_nbgrader,
}


def differences(stored: Path, executed: Path) -> str:
    """Return the first cell of two notebooks whose outputs differ by nbval's rules, or nothing."""
    for wanted, found in zip_longest(*(_shown(path) for path in (stored, executed))):
        if wanted != found:
            return f"{stored.name}: stored\n\n{wanted}\n\nexecuted\n\n{found}"
    return ""


def _shown(path: Path) -> list[list[str]]:
    """Return what each code cell shows: what it printed, then texts and HTML, but for pictures."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return [_texts(cell.outputs) for cell in cells if cell.source.strip()]


def _texts(outputs: list) -> list[str]:
    printed = "".join(o.text for o in outputs if o.get("name") == "stdout")
    shown = [o.get("data", {}) | {"error": o.get("ename", "")} for o in outputs]
    kinds = ("text/plain", "text/html", "error")
    texts = [printed] + [str(one[kind]) for one in shown for kind in kinds if one.get(kind)]
    plain = [re.sub('src="data:image/png;base64,[^"]*"', "", text) for text in texts]
    return [masked(text) for text in plain if not text.endswith("/s]")]
