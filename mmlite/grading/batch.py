"""Grading a class: every submission once, what is known kept, marks written as they come.

`grades.json` is the memory. It holds, with each submission, a digest of its bytes, of the grader
and of the limits; a rerun marks only what has another digest, so an interrupted run goes on where
it stopped and a second run changes nothing. The inputs' seed is drawn once for a folder of marks
and kept in it, so that the whole class is asked the same.
"""

import contextlib
import hashlib
import json
import secrets
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from mmlite.classroom import LessonError
from mmlite.exercises import all_exercises
from mmlite.grading import report
from mmlite.grading.library import PACKAGE
from mmlite.grading.marking import Marked, exercises_of, lessons_in, mark
from mmlite.grading.remote import GraderFault, Settings
from mmlite.grading.submissions import Submission, SubmissionError, find_submissions

ATTEMPTS = 2  # for a submission, should the grader itself fail
UNKNOWN = ""  # the digest of what is not kept for the next run
NO_LESSON = (
    "no lesson can be told, neither from the file's name nor from its functions; put the lesson's "
    "number into the name or use --lesson"
)


@dataclass(frozen=True)
class Summary:
    """What a run did: submissions in all, marked now, known from before, failed and late."""

    submissions: int
    marked: int
    known: int
    failed: int
    late: int


def grade(
    source: Path,
    out: Path,
    lessons: dict[str, str],
    sandbox: Any,
    settings: Settings,
    *,
    jobs: int = 1,
    lesson: str | None = None,
    due: datetime | None = None,
    on_start: Callable[[int], None] = lambda count: None,
    on_submission: Callable[[str], None] = lambda student: None,
) -> Summary:
    """Mark the submissions in `source` and write marks and feedback into `out`.

    Args:
        source: folder or zip.
        out: a folder; made if it is not there.
        lessons: the name of each lesson by its number.
        sandbox: a `Sandbox` or a `Container`.
        settings: what a submission may use.
        jobs: submissions at a time.
        lesson: the lesson of every submission, whatever its name says.
        due: later is late, by the time of a file's last change.
        on_start: called once with the number of submissions.
        on_submission: called after each submission with its student.

    Raises:
        LessonError: `source` holds nothing that can be read, `out` lies in it, or the sandbox
            fails.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise LessonError(
            f"{out} lies in {source}, where the next run would take the marks for submissions; "
            "choose a folder beside it"
        )
    found = find_submissions(source, lessons)
    on_start(len(found))
    out.mkdir(parents=True, exist_ok=True)
    before = _read_record(out / "grades.json")
    seed = before.get("seed", secrets.randbits(30))
    known = {e["digest"]: e for e in _entries(before) if e["digest"] != UNKNOWN}
    grader = _digest(version(), asdict(settings), seed)

    def one(submission: Submission) -> tuple[Submission, list[dict[str, Any]], bool]:
        for _ in range(ATTEMPTS):
            try:
                return _mark_or_keep(submission, lesson, known, grader, sandbox, settings, seed)
            # whatever fails here is ours, and costs neither this student nor the others a mark
            except (GraderFault, Exception) as error:
                fault = error
        return submission, [_unmarked(submission, lesson, fault)], True

    done: dict[int, list[dict[str, Any]]] = {}
    fresh = 0
    with _one_thread(), ThreadPoolExecutor(jobs) as pool:
        waiting: dict[Future, int] = {pool.submit(one, s): n for n, s in enumerate(found)}
        try:
            for future in as_completed(waiting):
                submission, entries, is_new = future.result()
                done[waiting[future]] = entries
                fresh += is_new
                if is_new:
                    record = _record(found, done, seed, settings, sandbox, due, before)
                    report.write(out / "grades.json", report.as_json(record))
                on_submission(submission.student)
        except BaseException:  # a Ctrl-C too: what is marked is kept, what waits is dropped
            pool.shutdown(wait=False, cancel_futures=True)
            sandbox.close()
            raise
    record = _record(found, done, seed, settings, sandbox, due)
    report.write_report(out, record)
    flags = [record["students"][name] for name in record["students"]]
    return Summary(
        submissions=len(found),
        marked=fresh,
        known=len(found) - fresh,
        failed=sum(student["failed"] for student in flags),
        late=sum(student["late"] for student in flags),
    )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the judge's own arithmetic to one thread while submissions are marked side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mark_or_keep(
    submission: Submission,
    lesson: str | None,
    known: dict[str, dict[str, Any]],
    grader: str,
    sandbox: Any,
    settings: Settings,
    seed: int,
) -> tuple[Submission, list[dict[str, Any]], bool]:
    """Return a submission's entries, one a lesson, and whether they are new."""
    lesson = lesson or submission.lesson
    try:
        data = submission.read()
    except SubmissionError as error:
        digest = _digest(grader, submission.name, str(error))
        entry = _entry(submission, lesson, digest, _nothing(lesson, str(error)))
        return submission, [entry], digest not in known
    digest = _digest(grader, hashlib.sha256(data).hexdigest(), lesson or "")
    keys = [digest] if lesson else [f"{digest}-{number}" for number in _lesson_numbers()]
    kept = [known[key] for key in [digest, *keys] if key in known]
    kept = list({entry["digest"]: entry for entry in kept}.values())
    if kept:
        again = [{**_entry(submission, e["lesson"], e["digest"], None), **_told(e)} for e in kept]
        return submission, again, False
    if lesson:
        marked = mark(data, lesson, sandbox, settings, seed)
        return submission, [_entry(submission, lesson, digest, marked)], True
    lessons, fault = lessons_in(data, sandbox, settings)
    if not lessons:
        nothing = _nothing(None, fault or NO_LESSON)
        return submission, [_entry(submission, None, digest, nothing)], True
    entries = [
        _entry(
            submission, number, f"{digest}-{number}", mark(data, number, sandbox, settings, seed)
        )
        for number in lessons
    ]
    return submission, entries, True


def _unmarked(submission: Submission, lesson: str | None, fault: BaseException) -> dict[str, Any]:
    """Return the entry of a submission that the grader failed at; the next run tries it again."""
    lesson = lesson or submission.lesson
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    sentence = (
        "the grader failed, which is no fault of the notebook; it is tried again by the next run "
        f"({type(fault).__name__} in {Path(frame.filename).name}, line {frame.lineno}: {fault})"
    )
    return _entry(submission, lesson, UNKNOWN, _nothing(lesson, sentence))


def _lesson_numbers() -> list[str]:
    return sorted({id_[:2] for id_ in all_exercises()})


def _nothing(lesson: str | None, fault: str) -> Marked:
    return Marked.nothing(exercises_of(lesson) if lesson else [], fault)


def _told(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("marks", "notes", "fault")}


def _entry(
    submission: Submission, lesson: str | None, digest: str, marked: Marked | None
) -> dict[str, Any]:
    return {
        "lesson": lesson,
        "file": submission.name,
        "modified": submission.modified.isoformat(timespec="seconds"),
        "digest": digest,
        **(marked.as_dict() if marked else {}),
    }


def _record(
    found: list[Submission],
    done: dict[int, list[dict[str, Any]]],
    seed: int,
    settings: Settings,
    sandbox: Any,
    due: datetime | None,
    before: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return all that is known: students in order, with their entries and sums.

    Args:
        before: an earlier record; what it says of submissions not yet done is kept.
    """
    students: dict[str, dict[str, Any]] = {}
    for number, submission in enumerate(found):
        entries = done.get(number)
        if entries is None and before:
            old = before.get("students", {}).get(submission.student, {"submissions": []})
            entries = [e for e in old["submissions"] if e["file"] == submission.name]
        student = students.setdefault(submission.student, {"submissions": []})
        student["submissions"] = _latest(student["submissions"] + (entries or []))
    for student in students.values():
        entries = student["submissions"]
        student["total"] = sum(m["points"] for entry in entries for m in entry["marks"])
        limit = due.isoformat(timespec="seconds") if due else None
        student["late"] = any(limit is not None and entry["modified"] > limit for entry in entries)
        student["failed"] = any(entry["fault"] is not None for entry in entries)
    seen = {entry["lesson"] for entry in _entries({"students": students})}
    return {
        "grader": version(),
        "isolation": sandbox.description,
        "seed": seed,
        "limits": asdict(settings),
        "due": due.isoformat(timespec="seconds") if due else None,
        "exercises": [id_ for id_ in all_exercises() if id_[:2] in seen],
        "students": dict(sorted(students.items())),
    }


def _latest(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one entry a lesson, of the file that was changed last."""
    by_lesson = {e["lesson"]: e for e in sorted(entries, key=lambda e: e["modified"])}
    return [by_lesson[lesson] for lesson in sorted(by_lesson, key=lambda number: number or "")]


def _entries(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for student in record.get("students", {}).values():
        yield from student["submissions"]


def _read_record(path: Path) -> dict[str, Any]:
    """Return what an earlier run wrote, or nothing.

    Raises:
        LessonError: the file is there and is not what an earlier run wrote.
    """
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        list(_entries(record))
        return record
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise LessonError(f"{path} is not of an earlier run; move it away to start anew") from error


def version() -> str:
    """Return a digest of all that decides a mark: the library with its exercises, and torch."""
    sources = [path.read_bytes() for path in sorted(PACKAGE.rglob("*.py"))]
    return _digest(torch.__version__, *(hashlib.sha256(s).hexdigest() for s in sources))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
