"""Finding what students handed in: a folder or a zip, named by student one way or another.

Three ways are known: flat files named by student (`ada.ipynb`, `ada_01_contrastive.ipynb`), folders
named by student (nbgrader's `submitted/ada/01_contrastive/01_contrastive.ipynb`), and the zip files
of learning platforms (Moodle's, Canvas's), which are one or the other with numbers in the names.
Nothing is unpacked to disk, no link is followed and no name is trusted.
"""

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath

from mmlite.classroom import LessonError
from mmlite.grading.remote import clean

MAX_FILE = 256 << 20  # bytes of one notebook: a lesson's, with all its figures, has two million
MAX_FILES = 10_000
OWN = re.compile(r"(^|/)(\.|__MACOSX|Thumbs\.db|timestamp\.txt$)")  # of systems, not of students
MOODLE = re.compile(r"^(?P<student>.+)_(?P<id>\d+)_assignsubmission_(file|onlinetext)")
CANVAS = re.compile(r"^(?P<student>[^_]+)(_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+?)(-\d+)?$")


@dataclass(frozen=True)
class Submission:
    """One file that a student handed in.

    Attributes:
        student: as the names tell.
        number: that a learning platform gave the student; tells two of one name apart.
        lesson: as "01", or None where no name tells.
        name: the file's, for people.
        modified: when it was last changed, local time.
        read: returns its bytes, or raises `SubmissionError`.
    """

    student: str
    number: str
    lesson: str | None
    name: str
    modified: datetime
    read: Callable[[], bytes]


class SubmissionError(Exception):
    """A file cannot be read; the sentence says why, to student and teacher."""


@dataclass(frozen=True)
class _File:
    path: str  # with / between its parts
    modified: datetime
    read: Callable[[], bytes]


def find_submissions(source: Path, lessons: dict[str, str]) -> list[Submission]:
    """Return the submissions of a folder or zip in the order of their students.

    Of several files of a student for a lesson the one that was changed last counts. A student
    without a notebook gets one submission, whose `read` says what there was instead.

    Args:
        source: folder or zip.
        lessons: the name of each lesson by its number: {"01": "contrastive"}.

    Raises:
        LessonError: there is no such folder or zip, it is no zip, or it holds nothing.
    """
    if source.is_dir():
        files = list(_in_folder(source))
    elif source.is_file():
        files = list(_in_zip(source))
    else:
        raise LessonError(f"{source} is neither a folder nor a zip")
    files = _without_wrapper([f for f in files if not OWN.search(f.path)], lessons)
    if not files:
        raise LessonError(f"{source} holds no submissions; they are .ipynb files named by student")
    if len(files) > MAX_FILES:
        raise LessonError(f"{source} holds {len(files):,} files; at most {MAX_FILES:,} are read")
    return _choose(_apart([_name(file, lessons) for file in files]))


def _apart(found: list[Submission]) -> list[Submission]:
    """Add a platform's number to the names that two students share."""
    numbers: dict[str, set[str]] = {}
    for one in found:
        numbers.setdefault(one.student, set()).add(one.number)
    return [
        replace(one, student=f"{one.student} ({one.number})")
        if one.number and len(numbers[one.student]) > 1
        else one
        for one in found
    ]


def _choose(found: Iterable[Submission]) -> list[Submission]:
    students: dict[str, dict[str | None, Submission]] = {}
    others: dict[str, Submission] = {}
    for one in sorted(found, key=lambda s: (s.modified, s.name)):
        if one.name.lower().endswith(".ipynb"):
            students.setdefault(one.student, {})[one.lesson] = one
        else:
            others[one.student] = one
    for student, one in others.items():
        if student not in students:
            students[student] = {one.lesson: _refused(one)}
    return [
        students[student][lesson]
        for student in sorted(students)
        for lesson in sorted(students[student], key=lambda lesson: lesson or "")
    ]


def _refused(one: Submission) -> Submission:
    sentence = f"{PurePosixPath(one.name).name} was handed in, which is not a notebook (.ipynb)"
    return replace(one, read=partial(_raise, sentence))


def _raise(sentence: str) -> bytes:
    raise SubmissionError(sentence)


# Names ---------------------------------------------------------------------------------------


def _name(file: _File, lessons: dict[str, str]) -> Submission:
    """Read student and lesson from a path."""
    path = PurePosixPath(file.path)
    stem = path.name.removesuffix(path.suffix)
    lesson, rest = _split_lesson(stem, lessons)
    for folder in reversed(path.parts[1:-1]):
        lesson = lesson or _split_lesson(folder, lessons)[0]
    first = path.parts[0] if len(path.parts) > 1 else stem
    if match := MOODLE.match(first) or CANVAS.match(stem):
        student, number = match["student"], match["id"]
    else:
        student, number = (first if len(path.parts) > 1 else rest or stem), ""
    student = clean(student.strip() or stem, 100)
    name = clean(file.path, 300)
    return Submission(student, number, lesson, name, file.modified, file.read)


def _split_lesson(text: str, lessons: dict[str, str]) -> tuple[str | None, str]:
    """Return the lesson that a name tells, and the name without it."""
    # a whole name says more than a number, which may be a group's or a date's
    for whole in (True, False):
        for number, name in lessons.items():
            name = rf"[_-]{re.escape(name)}" if whole else ""
            pattern = rf"(?:^|(?<=[_\- .])){number}{name}(?=$|[_\- .(])"
            if match := re.search(pattern, text, re.IGNORECASE):
                rest = text[: match.start()] + text[match.end() :]
                return number, rest.strip("_-. ")
    return None, text


def _without_wrapper(files: list[_File], lessons: dict[str, str]) -> list[_File]:
    """Take off a folder that holds all the students, as zips often have it."""
    while len({file.path.partition("/")[0] for file in files}) == 1:
        inner = [_File(f.path.partition("/")[2], f.modified, f.read) for f in files]
        firsts = {file.path.partition("/")[0] for file in inner}
        if "" in firsts or any(not _split_lesson(_stem(first), lessons)[1] for first in firsts):
            break  # it is the student's own
        files = inner
    return files


def _stem(name: str) -> str:
    return name.removesuffix(".ipynb")


# Folders and zips ----------------------------------------------------------------------------


def _in_folder(folder: Path) -> Iterator[_File]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in sorted(names) + links:
            path = Path(place, name)
            seconds = os.lstat(path).st_mtime
            shown = path.relative_to(folder).as_posix().encode("utf-8", "replace").decode()
            yield _File(shown, datetime.fromtimestamp(seconds), partial(_read_file, path))


def _read_file(path: Path) -> bytes:
    """Return a file's bytes; a link, a pipe and what is too large are refused.

    Raises:
        SubmissionError: it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise SubmissionError("the submission is a link to another file; hand in the file itself")
    try:
        fd = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise SubmissionError(f"the file cannot be read: {error.strerror}") from error
    with open(fd, "rb") as stream:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise SubmissionError("the submission is not a regular file")
        return _bounded(stream, status.st_size)


def _bounded(stream, size: int) -> bytes:
    if size > MAX_FILE:
        raise SubmissionError(
            f"the file has {size / 1e6:,.0f} MB; at most {MAX_FILE / 1e6:,.0f} MB are read. Clear "
            "the outputs and hand it in again"
        )
    return stream.read(MAX_FILE)


def _in_zip(path: Path) -> Iterator[_File]:
    try:
        members = [m for m in zipfile.ZipFile(path).infolist() if not m.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise LessonError(f"{path} is not a zip that can be read: {error}") from error
    for member in members:
        name = member.filename.encode("utf-8", "replace").decode()
        read, shown = partial(_read_member, path, member), name
        if _is_trick(name):
            parts = [part for part in re.split(r"[/\\:]", name) if part not in ("", ".", "..")]
            shown = "_".join(parts) or "unnamed"
            read = partial(_raise, f"the zip names this file {clean(name, 100)!r}; it was not read")
        try:
            modified = datetime(*member.date_time)
        except ValueError:
            modified = datetime.fromtimestamp(path.stat().st_mtime)
        yield _File(shown, modified, read)


def _is_trick(name: str) -> bool:
    """Whether a zip's name for a file leads out of the zip, or would on some system."""
    parts = re.split(r"[/\\]", name)
    return ".." in parts or name[:1] in "/\\" or "\\" in name or bool(re.match(r"\w:", name))


def _read_member(path: Path, member: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a file in a zip.

    Raises:
        SubmissionError: it is a link, encrypted, damaged or too large.
    """
    if stat.S_ISLNK(member.external_attr >> 16):
        raise SubmissionError("the submission is a link to another file; hand in the file itself")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            return _bounded(stream, member.file_size)
    # zipfile tells encryption, damage and unknown methods in as many ways
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, ValueError) as error:
        raise SubmissionError(f"the file in the zip cannot be read: {error}") from error
