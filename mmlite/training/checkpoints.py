"""Checkpoints: one file that a stopped run goes on from, whole at every moment.

A file is written beside its place under another name, flushed to the disk, and only then renamed,
so a process killed at any moment leaves either the old file or the new one. The one before is kept
as well. `alone` keeps the place to one run while it lasts. Files hold what `storable` says alone,
so reading one runs no code of whoever wrote it. A file is a zip archive, as torch writes it, whose
comment holds the SHA-256 of all that stands before: the archive's own checksums do not cover its
directory.
"""

import contextlib
import hashlib
import os
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from mmlite.support.errors import first_line
from mmlite.support.files import replacing
from mmlite.training.storable import alike, from_file, plain, to_file

FORMAT, VERSION = "mmlite checkpoint", 4
DIGEST = b"mmlite sha256 "  # and 64 hexadecimal digits: the archive's comment


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or another run's; the message names it and says why."""


class WriteError(CheckpointError):
    """A file cannot be written: the folder is closed, or the disk is full."""


class CheckpointWarning(UserWarning):
    """A run goes on, but not from the newest checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        description: what the run is: names with strings, numbers, booleans or None.
        state: what the run goes on from.
        path: the file that it was read from.
        note: a sentence if that is not the file asked for, because it is missing or damaged;
            otherwise empty.
    """

    description: dict[str, Any]
    state: dict[str, Any]
    path: Path
    note: str = ""

    def check(self, description: Mapping[str, Any]) -> None:
        """Raise a CheckpointError that names the differences if it is of another run."""
        own, other = self.description, dict(description)
        differ = [
            f"{name} is {own.get(name, 'not set')!r} there and {other.get(name, 'not set')!r} here"
            for name in own | other
            if not alike(own.get(name), other.get(name)) or (name in own) != (name in other)
        ]
        if differ:
            raise CheckpointError(
                f"{self.path} is a checkpoint of another run: {'; '.join(differ)}. Go on with the "
                "settings of that run, or give this one a path of its own"
            )


def save_checkpoint(
    path: str | Path, state: Mapping[str, Any], description: Mapping[str, Any]
) -> None:
    """Write a checkpoint so that a kill at any moment leaves a good one; keep the one before.

    Args:
        path: the file; the one that was there becomes `previous_path(path)`.
        state: what `storable.to_file` takes: tensors, numbers, strings, arrays, containers.
        description: what the run is; `Checkpoint.check` compares it.

    Raises:
        ValueError: the state holds what could not be read back, or the description what `plain`
            refuses. The old file stays.
        WriteError: the folder cannot be written, or the disk is full. The old file stays.
    """
    path = Path(path)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "description": plain(description),
        "state": to_file(dict(state)),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            with draft.open("wb+") as file:
                torch.save(content, file)
                _seal(file)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                _put_away(path)
        _flush_folder(path.parent)
    # a full disk reaches us as an error of torch's writer
    except (OSError, RuntimeError) as error:
        last = path if path.exists() else previous_path(path)
        left = f"The last one is {last}" if last.exists() else "There is no earlier one"
        raise WriteError(
            f"the checkpoint {path} cannot be written ({first_line(error)}); make room there or "
            f"give another path. {left}"
        ) from error


def _put_away(path: Path) -> None:
    """Let `previous_path(path)` be what is at `path`, which stays there until it is replaced."""
    spare = path.with_name(f"{path.name}.link")
    try:
        spare.unlink(missing_ok=True)  # of a run that was killed here
        os.link(path, spare)
    except OSError:  # a file system without links
        os.replace(path, previous_path(path))
    else:
        os.replace(spare, previous_path(path))


@contextlib.contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Keep a checkpoint's place to one run: of two at a time, each would put the other's away.

    The system lifts the lock, "….lock" beside the file, when its process ends, however it does.

    Args:
        path: the checkpoint; its folder is made if it is not there.

    Raises:
        CheckpointError: another run, here or in another process, holds it; or nothing can be
            written there.
    """
    path = Path(path)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"another run is going on with the checkpoint {path}; wait until it ends, or give this "
            "one a path of its own"
        ) from None
    except NotImplementedError:
        warnings.warn(
            f"the file system of {path.parent} has no locks; see to it that no other run has the "
            "same checkpoint",
            CheckpointWarning,
            stacklevel=3,
        )
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {path} could not be written ({first_line(error)}); give another path"
        ) from error
    try:
        yield
    finally:
        lock.release()


def load_checkpoint(path: str | Path, set_aside: bool = False) -> Checkpoint:
    """Read a checkpoint onto the CPU; if it is missing or damaged, the one before it.

    Args:
        path: the file.
        set_aside: rename a damaged file to "….damaged", so that a later save does not put it in
            the place of the good one before it.

    Raises:
        CheckpointError: there is no good file: neither is there, both are damaged, or the file is
            not a checkpoint of this course, or of a later version.
    """
    path = Path(path)
    before = previous_path(path)
    try:
        return _read(path)
    except (FileNotFoundError, _DamageError) as error:
        fault = _fault(path, error)
        damaged = isinstance(error, _DamageError)
    try:
        older = _read(before)
    except FileNotFoundError:
        mend = "there is no earlier one beside it" if damaged else "name an existing file"
        raise CheckpointError(f"{fault}; {mend}") from None
    except _DamageError as error:
        raise CheckpointError(f"{fault}, and {_fault(before, error)}; start again") from None
    if damaged and set_aside:
        os.replace(path, path.with_name(f"{path.name}.damaged"))
    note = f"{fault}; going on from the one before it, {before.name}"
    return Checkpoint(older.description, older.state, before, note)


def previous_path(path: str | Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def exists(path: str | Path) -> bool:
    """Whether there is a checkpoint at `path`, or the one before it."""
    return Path(path).exists() or previous_path(path).exists()


class _DamageError(Exception):
    """A file that cannot be read to its end."""


def _fault(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no checkpoint {path}"
    return f"the checkpoint {path} is damaged ({error})"


def _read(path: Path) -> Checkpoint:
    """Read one file, or raise FileNotFoundError, _DamageError or CheckpointError."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the checkpoint file in it")
    if not _is_sealed(path):
        _check_sums(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # an archive with good checksums that is not one of torch's, or holds code
    except Exception as error:
        # torch's own sentence advises to load it all the same
        unsafe = isinstance(error, pickle.UnpicklingError)
        reason = (
            "it holds code beside the data; none of it was run" if unsafe else first_line(error)
        )
        raise CheckpointError(f"{path} is not a checkpoint of mmlite ({reason})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of mmlite: torch can read it, but mmlite did not write it"
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {content.get('version')}, and this version of mmlite "
            f"reads format {VERSION}; use the version that wrote it"
        )
    if not all(isinstance(content.get(part), dict) for part in ("description", "state")):
        raise CheckpointError(f"{path} is a checkpoint without a description and a state")
    return Checkpoint(content["description"], from_file(content["state"]), path)


def _seal(file: BufferedRandom) -> None:
    """Write the digest of an archive into its comment, which ends the file."""
    file.seek(-2, os.SEEK_END)  # where an archive without a comment tells its length, 0
    file.write((len(DIGEST) + 64).to_bytes(2, "little"))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0, os.SEEK_END)
    file.write(DIGEST + digest.encode())


def _is_sealed(path: Path) -> bool:
    """Whether a file ends in its digest; raise _DamageError if it is not what was written."""
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except OSError as error:  # a disk that fails
        raise _DamageError(first_line(error)) from error
    content, comment = whole[: -len(DIGEST) - 64], whole[-len(DIGEST) - 64 :]
    if not comment.startswith(DIGEST):
        return False  # another's file, one of an earlier version, or damage that the sums will show
    if comment != DIGEST + hashlib.sha256(content).hexdigest().encode():
        raise _DamageError("it is not what was written")
    return True


def _check_sums(path: Path) -> None:
    """Raise _DamageError if a part of the archive lacks its checksum; torch.load checks none."""
    try:
        if path.stat().st_size == 0:
            raise _DamageError("it is empty")
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except FileNotFoundError:
        raise
    # whatever random bytes make the archive's reader raise
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError) as error:
        raise _DamageError(first_line(error)) from error
    except EOFError as error:
        raise _DamageError("it ends too early") from error
    if bad is not None:
        raise _DamageError(f"the checksum of its part {bad} is wrong")


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be flushed (not on Windows)."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
