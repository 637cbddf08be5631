"""A student's own copies of the lessons, in `work/`, so that `git pull` never meets their answers.

Git ignores the folder. A copy that was never opened follows its lesson; one that was stays as it is
until its owner starts it over, and then the old one is kept beside it.
"""

import hashlib
import itertools
import json
from pathlib import Path
from typing import NamedTuple

from mmlite.course.notebooks import find_lessons
from mmlite.support.files import replacing

FOLDER = "work"
ORIGINS = ".lessons.json"  # of each copy, the digest of the lesson that it was made from


class Copies(NamedTuple):
    """The copies' folder, and the names of those whose lesson has a newer version."""

    folder: Path
    outdated: list[str]


def copy_lessons(course: Path) -> Copies:
    """Copy each lesson into `work/` unless it is there, and renew the copies that nobody touched.

    Raises:
        LessonError: the course has no lessons.
        OSError: the folder cannot be written.
    """
    folder = course / FOLDER
    folder.mkdir(exist_ok=True)
    origins, outdated = _read_origins(folder), []
    for lesson in find_lessons(course / "lessons", []):
        copy, content = folder / lesson.name, lesson.read_bytes()
        newest, made_from = _digest(content), origins.get(lesson.name)
        if not copy.exists() or (made_from != newest and _digest(copy.read_bytes()) == made_from):
            _write(copy, content)
            origins[lesson.name] = newest
        elif made_from != newest:
            outdated.append(lesson.stem)
    _write(folder / ORIGINS, json.dumps(origins, indent=1).encode())
    return Copies(folder, outdated)


def start_over(course: Path, lesson: Path) -> Path | None:
    """Put a student's copy of a lesson aside, and return where it is now; None if there was none.

    Raises:
        OSError: the file cannot be moved.
    """
    copy = course / FOLDER / lesson.name
    if not copy.exists():
        return None
    numbered = (copy.with_stem(f"{copy.stem}_old_{number}") for number in itertools.count(1))
    aside = next(path for path in numbered if not path.exists())
    copy.rename(aside)
    return aside


def _read_origins(folder: Path) -> dict[str, str]:
    """Return what is known of the copies' origins; nothing of a damaged file, and no copy goes."""
    try:
        origins = json.loads((folder / ORIGINS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return origins if isinstance(origins, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as draft:
        draft.write_bytes(content)
