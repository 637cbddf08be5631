"""What a student has tried and passed, kept from day to day in a small file of their own.

It is `work/progress.json` of the course, or what the variable MMLITE_PROGRESS names; with
MMLITE_PROGRESS=off, and outside notebooks, nothing is kept beyond the session. Marks do not depend
on it.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from mmlite.course.notebooks import OFF, PROGRESS, LessonError, find_course
from mmlite.course.own_copies import FOLDER
from mmlite.support.files import replacing
from mmlite.support.shell import in_notebook

PATIENCE = 5  # seconds to wait for another notebook that writes


class ProgressError(Exception):
    """The file cannot be read or written; the message says why."""


@dataclass(frozen=True)
class Attempts:
    """How far somebody is with an exercise.

    Attributes:
        tries: how often an answer was judged.
        passed: when one was right for the first time, as "2026-11-28 06:15"; empty where no file
            keeps it, and None if none was.
    """

    tries: int = 0
    passed: str | None = None


_session: dict[str, Attempts] = {}  # where there is no file


def record(exercise_id: str, passed: bool) -> None:
    """Count an answer that was judged.

    Raises:
        ProgressError: the file cannot be written; the session knows it all the same.
    """
    _session[exercise_id] = _counted(_session.get(exercise_id), "" if passed else None)
    path = progress_file()
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE):
            known = _read(path)
            now = datetime.now().strftime("%Y-%m-%d %H:%M")
            known[exercise_id] = _counted(known.get(exercise_id), now if passed else None)
            text = json.dumps({name: asdict(one) for name, one in sorted(known.items())}, indent=1)
            with replacing(path) as draft:
                draft.write_text(text + "\n", encoding="utf-8")
    except Timeout as error:
        raise ProgressError(f"another program keeps {path} locked") from error
    except OSError as error:
        raise ProgressError(f"{path} cannot be written: {error.strerror}") from error


def attempts() -> dict[str, Attempts]:
    """Return what was tried, by the exercise's id: what the file says, else this session.

    Raises:
        ProgressError: the file cannot be read.
    """
    path = progress_file()
    return dict(_session) if path is None else {**_session, **attempts_in(path)}


def attempts_in(path: Path) -> dict[str, Attempts]:
    """Return what a file says was tried, by the exercise's id; nothing if there is no file.

    Raises:
        ProgressError: the file cannot be read.
    """
    try:
        return _read(path)
    except OSError as error:
        raise ProgressError(f"{path} cannot be read: {error.strerror}") from error


def progress_file() -> Path | None:
    """Return where progress is kept, or None where it is not."""
    named = os.environ.get(PROGRESS, "")
    if named:
        return None if named == OFF else Path(named).expanduser()
    return course_file() if in_notebook() else None


def course_file() -> Path | None:
    """Return the file of the course at or above the working folder, or None without a course."""
    try:
        return find_course() / FOLDER / "progress.json"
    except LessonError:
        return None


def _counted(before: Attempts | None, passed: str | None) -> Attempts:
    before = before or Attempts()
    first = before.passed if before.passed is not None else passed
    return replace(before, tries=before.tries + 1, passed=first)


def _read(path: Path) -> dict[str, Attempts]:
    """Return what a file says; a damaged one is put aside, and nothing is known."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        text = ""
    try:
        return {str(name): Attempts(**one) for name, one in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        os.replace(path, path.with_name(f"{path.name}.damaged"))
        return {}
