"""The files of a folder or a zip: their names, when they were changed, and how they are read.

Nothing is unpacked to disk, no link is followed and no name is trusted.
"""

import io
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from mmlite.course.notebooks import LessonError
from mmlite.grading.host.remote import clean

MAX_FILE = 256 << 20  # bytes of one notebook: a lesson's, with all its figures, has two million
MAX_FILES = 10_000
# what a damaged or strange zip raises: zipfile tells each kind in its own way
BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError, ValueError)


class SubmissionError(Exception):
    """A file cannot be read; the sentence says why, to student and teacher."""


@dataclass(frozen=True)
class File:
    """A file in a folder or zip.

    Attributes:
        path: with / between its parts, in Unicode's composed form.
        modified: when it was last changed, local time.
        read: returns its bytes, or raises `SubmissionError`.
    """

    path: str
    modified: datetime
    read: Callable[[], bytes]


def files_in(source: Path) -> list[File]:
    """Return the files of a folder or zip, and those of the zips in it; a notebook is one file.

    Raises:
        LessonError: there is no such folder or zip, it is no zip, or it holds too many files.
    """
    if source.is_dir():
        found = list(_in_folder(source))
    elif source.is_file() and source.suffix.lower() == ".ipynb":
        found = [File(_composed(source.name), _changed(source), partial(_read_file, source))]
    elif source.is_file():
        try:
            found = list(_in_zip(source, zipfile.ZipFile(source), _changed(source)))
        except (*BROKEN, NotImplementedError) as error:
            raise LessonError(f"{source} is not a zip that can be read: {error}") from error
    else:
        raise LessonError(f"{source} is no folder, zip or notebook")
    found = [inner for file in found for inner in _with_inner(file)]
    if len(found) > MAX_FILES:
        raise LessonError(f"{source} holds {len(found):,} files; at most {MAX_FILES:,} are read")
    return found


def refused(sentence: str) -> Callable[[], bytes]:
    """Return a way to read that raises `SubmissionError`."""

    def read() -> bytes:
        raise SubmissionError(sentence)

    return read


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(os.lstat(path).st_mtime)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())


# folders


def _in_folder(folder: Path) -> Iterator[File]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in sorted(names) + links:
            path = Path(place, name)
            shown = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")
            yield File(_composed(shown), _changed(path), partial(_read_file, path))


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


# zips


def _in_zip(opens, archive: zipfile.ZipFile, otherwise: datetime) -> Iterator[File]:
    """Return the files of a zip.

    Args:
        opens: what `zipfile` opens again for each: a path, or a function of the zip's bytes.
        archive: the zip, for its list.
        otherwise: when a file was changed that has no time of its own.
    """
    for member in archive.infolist():
        if member.is_dir():
            continue
        name = _composed(_name_in_zip(member))
        shown = name
        read: Callable[[], bytes] = partial(_read_member, opens, member)
        if _is_trick(name):
            parts = [part for part in re.split(r"[/\\:]", name) if part not in ("", ".", "..")]
            shown = "_".join(parts) or "unnamed"
            read = refused(f"the zip names this file {clean(name, 100)!r}; it was not read")
        try:
            modified = datetime(*member.date_time)
        except ValueError:
            modified = otherwise
        yield File(shown, modified, read)


def _name_in_zip(member: zipfile.ZipInfo) -> str:
    """Return a member's name; macOS writes UTF-8 without the flag that says so."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _is_trick(name: str) -> bool:
    """Whether a zip's name for a file leads out of the zip, or would on some system."""
    parts = re.split(r"[/\\]", name)
    return ".." in parts or name[:1] in "/\\" or "\\" in name or bool(re.match(r"\w:", name))


def _read_member(opens, member: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a file in a zip.

    Raises:
        SubmissionError: it is a link, encrypted, damaged or too large.
    """
    if stat.S_ISLNK(member.external_attr >> 16):
        raise SubmissionError("the submission is a link to another file; hand in the file itself")
    try:
        source = io.BytesIO(opens()) if callable(opens) else opens
        with zipfile.ZipFile(source) as archive, archive.open(member) as stream:
            return _bounded(stream, member.file_size)
    except BROKEN as error:
        raise SubmissionError(f"the file in the zip cannot be read: {error}") from error


def _with_inner(file: File) -> Iterator[File]:
    """Return a file, or those of the zip that a student handed in instead of a notebook."""
    if not file.path.lower().endswith(".zip"):
        yield file
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
        inner = list(_in_zip(file.read, archive, file.modified))
    except (SubmissionError, *BROKEN, NotImplementedError) as error:
        yield File(file.path, file.modified, refused(f"the zip cannot be read: {error}"))
        return
    for one in inner:
        yield File(f"{file.path}/{one.path}", one.modified, one.read)
    if not inner:
        yield File(file.path, file.modified, refused("the zip is empty"))
