"""`grades.json`, the memory of a class: what each student was marked with, week after week.

A record maps each student to what is known of the platform's name for them, to one entry a lesson
(the last that was handed in), and to marks that were set by hand. Nothing leaves it unasked: a
later run adds and replaces by student and lesson.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mmlite.course.notebooks import LessonError
from mmlite.exercises import all_exercises, find
from mmlite.grading.host.submissions import Submission

Entry = dict[str, Any]
Record = dict[str, Any]
# of an entry that an earlier version wrote
_ABSENT = {"clock": "the file's own time", "late": False, "guessed": False}
UNKNOWN = ""  # the digest of what is not kept for the next run


def read(path: Path) -> Record:
    """Return what an earlier run wrote, or an empty record.

    Raises:
        LessonError: the file is there and is not what an earlier run wrote.
    """
    if not path.exists():
        return {"students": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for entry in entries(record):
            entry["lesson"], entry["digest"], entry["marks"], entry["modified"]
        return record
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise LessonError(f"{path} is not of an earlier run; move it away to start anew") from error


def entries(record: Record) -> Iterator[Entry]:
    """Return every entry of every student."""
    for student in record.get("students", {}).values():
        yield from student["submissions"]


def known(record: Record) -> dict[str, Entry]:
    """Return what need not be marked again, by its digest."""
    return {e["digest"]: e for e in entries(record) if e["digest"] != UNKNOWN}


def entry(submission: Submission, lesson: str | None, digest: str, told: Entry) -> Entry:
    """Return what is kept of a submission.

    Args:
        submission: where it comes from.
        lesson: as named, or as its functions tell.
        digest: of all that decides its marks.
        told: its marks, notes and fault.
    """
    return {
        "lesson": lesson,
        "file": submission.name,
        "modified": submission.modified.isoformat(timespec="seconds"),
        "clock": submission.clock,
        "late": bool(submission.late),
        "guessed": submission.lesson is None,
        "digest": digest,
        **{key: told[key] for key in ("marks", "notes", "fault")},
    }


def merged(
    before: Record, done: list[tuple[Submission, list[Entry]]], due: datetime | None
) -> dict[str, Any]:
    """Return the students of a record with the entries of a run in it.

    Args:
        before: an earlier record.
        done: submissions, each with its entries.
        due: when this run's submissions were due; one handed in after that is marked late.
    """
    students = {
        name: {**one, "submissions": list(one["submissions"])}
        for name, one in before.get("students", {}).items()
    }
    for submission, new in done:
        student = students.setdefault(submission.student, {"submissions": []})
        student["number"], student["folder"] = submission.number, submission.folder
        limits = {(e["file"], e["modified"]): e.get("due") for e in student["submissions"]}
        for one in new:
            limit = due.isoformat(timespec="seconds") if due else None
            limit = limit or limits.get((one["file"], one["modified"]))  # an earlier run's
            late = one["late"] or (limit is not None and one["modified"] > limit)
            student["submissions"].append({**one, "late": late, "due": limit})
    for student in students.values():
        student["submissions"] = _latest(student["submissions"])
        summed(student)
    return dict(sorted(students.items(), key=lambda item: (item[0].casefold(), item[0])))


def _latest(found: list[Entry]) -> list[Entry]:
    """Return one entry a lesson: one that names it before one that was guessed, then the latest.

    Of two of one time the later in the list counts, which is of the later run. A file in which no
    lesson could be told is forgotten once another of the student's has been marked.
    """
    by_lesson: dict[str | None, Entry] = {}
    for one in sorted(found, key=lambda e: (not e.get("guessed", False), e["modified"])):
        by_lesson[one["lesson"]] = one
    if len(by_lesson) > 1:
        by_lesson.pop(None, None)
    return [by_lesson[lesson] for lesson in sorted(by_lesson, key=lambda number: number or "")]


def summed(student: dict[str, Any]) -> None:
    """Set a student's total, and whether something was late or could not be marked."""
    student["total"] = sum(points(student).values())
    student["late"] = any(one["late"] for one in student["submissions"])
    student["failed"] = any(one["fault"] is not None for one in student["submissions"])


def points(student: dict[str, Any]) -> dict[str, float]:
    """Return a student's points by exercise, those set by hand in place of the grader's."""
    marked = {m["exercise"]: m["points"] for one in student["submissions"] for m in one["marks"]}
    by_hand = student.get("by_hand", {}).items()
    return {**marked, **{id_: one["points"] for id_, one in by_hand if one["points"] is not None}}


def exercises(students: dict[str, Any]) -> list[str]:
    """Return the exercises of all lessons that were handed in, or marked by hand."""
    seen = {one["lesson"] for student in students.values() for one in student["submissions"]}
    seen |= {id_[:2] for student in students.values() for id_ in student.get("by_hand", {})}
    return [id_ for id_ in all_exercises() if id_[:2] in seen]


def best(students: dict[str, Any]) -> int:
    """Return how many points there are."""
    return sum(find(id_).points for id_ in exercises(students))
