"""A study's results: a file for each stage in its folder, one line of JSON for each run."""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmlite.experiments.study.cells import STAGES, Cell, Results
from mmlite.experiments.study.protocol import Protocol
from mmlite.experiments.study.protocol_file import read_protocol
from mmlite.support.files import replacing

PROTOCOL = "protocol.toml"


class StudyError(RuntimeError):
    """A study was stopped on its way; the results so far are on the disk."""


class ResultsError(ValueError):
    """A folder's results are of another protocol, or another study is running there."""


class ResultsWarning(UserWarning):
    """A line of the results is damaged; the others are read."""


def read_results(folder: str | Path, protocol: Protocol) -> Results:
    """Return the results in a folder.

    A damaged line, as a killed run or a full disk leaves one, is left out with a `ResultsWarning`;
    its run counts as not done.

    Args:
        folder: of the study; none is there before its first run.
        protocol: the study's.

    Raises:
        ResultsError: a line is of another protocol.
    """
    results = Results(protocol)
    for stage in STAGES:
        path = file_of(Path(folder), stage)
        for number, text in enumerate(_texts(path), 1):
            line = _parsed(text)
            if line is None:
                warnings.warn(
                    f"{path}, line {number} is damaged and left out; its run counts as not done",
                    ResultsWarning,
                    stacklevel=2,
                )
                continue
            if line["protocol"] != protocol.checksum:
                raise ResultsError(
                    f"{path}, line {number} is of protocol {line['protocol']}, and this one is "
                    f"{protocol.checksum}: results are judged by the rules that they were made "
                    "under. Give the protocol as it was, or another folder"
                )
            results.add(line)
    return results


def file_of(folder: Path, stage: str) -> Path:
    """Return the file that holds the lines of a stage."""
    return folder / f"{stage}.jsonl"


@contextmanager
def writing(folder: Path, protocol: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that adds a line to a folder's results; nobody else writes there meanwhile.

    Damaged lines are put aside first, in a file beside. A copy of the protocol goes along.

    Raises:
        OSError: the folder cannot be written.
        ProtocolError: the folder's protocol is damaged.
        ResultsError: another study is running there, or the folder is that of another protocol.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "study.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResultsError(
            f"another study is running in {folder}; wait until it ends, or give another folder"
        ) from None
    try:
        _keep_protocol(protocol, folder / PROTOCOL)
        for stage in STAGES:
            _put_damaged_aside(file_of(folder, stage))
        yield lambda line: _append(folder, line)
    finally:
        lock.release()


def _keep_protocol(given: Path, kept: Path) -> None:
    if not kept.exists():
        kept.write_bytes(given.read_bytes())
    elif read_protocol(given).checksum != read_protocol(kept).checksum:
        raise ResultsError(
            f"{kept.parent} is the folder of another protocol: {kept.name} there differs from "
            f"{given}; give another folder"
        )


def _append(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line, and have it on the disk before the next run starts."""
    with file_of(folder, line["stage"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _put_damaged_aside(path: Path) -> None:
    texts = _texts(path)
    damaged = [text for text in texts if _parsed(text) is None]
    if not damaged:
        return
    aside = path.with_suffix(".damaged")
    with aside.open("a", encoding="utf-8") as file:
        file.writelines(text.rstrip("\n") + "\n" for text in damaged)
    with replacing(path) as draft:
        draft.write_text("".join(t for t in texts if t not in damaged), encoding="utf-8")
    warnings.warn(
        f"{path} has {len(damaged)} damaged {'line' if len(damaged) == 1 else 'lines'}, kept in "
        f"{aside.name}; what is missing is run again",
        ResultsWarning,
        stacklevel=2,
    )


def _texts(path: Path) -> list[str]:
    """Return a file's lines with their ends; the last one may have none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return list(file)


def _parsed(text: str) -> dict[str, Any] | None:
    """Return a line of the results, or None if it is none; without its end it may be cut."""
    if not text.endswith("\n"):
        return None
    try:
        line = json.loads(text)
        Cell.of(line)
        return line if isinstance(line["protocol"], str) else None
    except (ValueError, KeyError, TypeError):
        return None
