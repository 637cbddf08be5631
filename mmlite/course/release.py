"""What a teacher hands out: the lessons, fresh from their masters, and the library they run on."""

import subprocess
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mmlite.course.build import marker_in, stale
from mmlite.course.notebooks import LessonError, find_lessons, read_notebook

# What a student needs beside the lessons to run and read them; `pip install` takes the library.
READ_BY_LESSONS = (  # by 05
    "benchmarks/trial",
    "benchmarks/results/confirm.json",
    "benchmarks/results/trained_masks.json",
)
RELEASED = (
    *("README.md", "LICENSE", "pyproject.toml", "environment.yml", "docs", "mmlite"),
    *READ_BY_LESSONS,
)

SHOWS_SOLUTIONS = "mmlite/exercises/solution.py"  # what `mmlite.reveal` needs


class Release(NamedTuple):
    """Names of the files that were written, and of those that were left out: git has them not."""

    files: list[str]
    left_out: list[str]


def release(course: Path, target: Path, *, solutions: bool = True) -> Release:
    """Write what students get into a new folder, or into a zip if `target` ends in .zip.

    That is the lessons and the library with what installs it, as far as git tracks them: what else
    lies in a teacher's clone is the teacher's. (Without git, as in a release itself, all files of
    theirs go but hidden ones.) The library is open and holds the exercises' references, as every
    library that explains itself does; the masters, with their answers and hidden tests, stay here.

    Args:
        course: the clone.
        target: a new folder, or the name of a zip.
        solutions: whether `mmlite.reveal` is to show a solution after a try.

    Raises:
        LessonError: there are no lessons, one is not what its master makes or holds a marker of
            answers, or `target` is there and not empty.
    """
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise LessonError(f"{target} is there already; name a new folder or zip")
    found = find_lessons(course / "lessons", [])
    for name in RELEASED:
        found += sorted((course / name).rglob("*")) if (course / name).is_dir() else [course / name]
    names = [path.relative_to(course).as_posix() for path in found if path.is_file()]
    names = [name for name in names if not _is_left_by_programs(name)]
    tracked = _tracked(course)
    names = [name for name in names if solutions or name != SHOWS_SOLUTIONS]
    files = [name for name in names if tracked is None or name in tracked]
    for name in files:
        if name.endswith(".ipynb"):
            _check(course, name)
    _write({name: course / name for name in files}, target)
    return Release(files, [name for name in names if name not in files])


def _is_left_by_programs(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__pycache__" in parts or any(part.startswith(".") for part in parts)


def _tracked(course: Path) -> set[str] | None:
    """Return the names that git tracks below `course`, or None where it is no clone."""
    if not (course / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(course), "ls-files", "-z"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        raise LessonError(f"git does not say which files it tracks in {course}: {said}") from error
    return set(done.stdout.split("\0")) - {""}


def _check(course: Path, name: str) -> None:
    """Refuse a lesson that is not what its master makes, or that shows an answer's marker.

    Raises:
        LessonError: it is so.
    """
    lesson, master = course / name, course / "solutions" / Path(name).name
    if master.exists() and (faults := stale(master, lesson)):
        raise LessonError(f"{faults[0]}; run mmlite lessons build first")
    for cell in read_notebook(lesson).cells:
        if line := marker_in(cell.source):
            raise LessonError(f"{name}, cell {cell.get('id')} holds an answer's marker: {line!r}")


def _write(files: dict[str, Path], target: Path) -> None:
    if target.suffix == ".zip":
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in files.items():
                archive.write(path, f"{target.stem}/{name}")
    else:
        for name, path in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(path.read_bytes())
