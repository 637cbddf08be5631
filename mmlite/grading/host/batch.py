"""Grading a class: every submission once, what is known kept, marks written as they come.

`grades.json` is the memory (`record`). It holds, with each submission, a digest of its bytes, of
the grader and of the limits; a rerun marks only what has another digest, so an interrupted run goes
on where it stopped and a second run changes nothing. The inputs' seed is drawn once for a folder of
marks and kept in it, so that the whole class is asked the same.
"""

import contextlib
import hashlib
import json
import secrets
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from mmlite.course.notebooks import LessonError
from mmlite.exercises import all_exercises
from mmlite.grading.host import lists, record, report
from mmlite.grading.host.files import SubmissionError
from mmlite.grading.host.library import PACKAGE
from mmlite.grading.host.marking import Marked, exercises_of, lessons_in, mark
from mmlite.grading.host.record import Entry
from mmlite.grading.host.remote import GraderFault, Settings
from mmlite.grading.host.submissions import Submission, find_submissions

ATTEMPTS = 2  # for a submission, should the grader itself fail
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
    remarks: list[str] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class Wishes:
    """What a teacher may say beside the submissions.

    Attributes:
        lesson: the lesson of every submission, whatever its name says.
        due: when this run's submissions were due; one handed in after that is marked late.
        roster: a table of the class; who handed in nothing is named.
        by_hand: a table of marks and comments set by hand, which this and later runs keep.
        forget: students who leave the record.
    """

    lesson: str | None = None
    due: datetime | None = None
    roster: Path | None = None
    by_hand: Path | None = None
    forget: tuple[str, ...] = ()


def grade(
    source: Path,
    out: Path,
    lessons: dict[str, str],
    sandbox: Any,
    settings: Settings,
    wishes: Wishes | None = None,
    *,
    jobs: int = 1,
    on_start: Callable[[int], None] = lambda count: None,
    on_submission: Callable[[str], None] = lambda student: None,
) -> Summary:
    """Mark the submissions in `source` and write marks and feedback into `out`.

    Args:
        source: folder, zip or notebook.
        out: a folder; made if it is not there. What it knows from earlier runs stays.
        lessons: the name of each lesson by its number.
        sandbox: a `Sandbox` or a `Container`.
        settings: what a submission may use.
        wishes: what the teacher says beside.
        jobs: submissions at a time.
        on_start: called once with the number of submissions.
        on_submission: called after each submission with its student.

    Raises:
        LessonError: `source` holds nothing that can be read, `out` lies in it, or one of the
            teacher's tables is wrong.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise LessonError(
            f"{out} lies in {source}, where the next run would take the marks for submissions; "
            "choose a folder beside it"
        )
    wishes = wishes or Wishes()
    people = lists.roster(wishes.roster) if wishes.roster else []
    found = find_submissions(source, lessons)
    before = record.read(out / "grades.json")
    _forget(before, wishes.forget)
    if wishes.by_hand is not None:  # refused before an hour's marking, not behind it
        lists.by_hand(wishes.by_hand, {**before["students"], **_names(found.submissions)})
    on_start(len(found.submissions))
    out.mkdir(parents=True, exist_ok=True)
    seed = before.get("seed", secrets.randbits(30))
    grader = _digest(version(), asdict(settings), seed)
    marker = _Marker(wishes.lesson, record.known(before), grader, sandbox, settings, seed)
    head = {
        "grader": version(),
        "isolation": sandbox.description,
        "seed": seed,
        "limits": asdict(settings),
    }
    done: dict[int, tuple[Submission, list[Entry]]] = {}

    def written() -> dict[str, Any]:
        students = record.merged(before, [done[n] for n in sorted(done)], wishes.due)
        whole = {**head, "exercises": record.exercises(students), "students": students}
        report.write(out / "grades.json", report.as_json(whole))
        return whole

    fresh = 0
    with _one_thread(), ThreadPoolExecutor(jobs) as pool:
        waiting: dict[Future, int] = {
            pool.submit(marker.mark, one): n for n, one in enumerate(found.submissions)
        }
        try:
            for future in as_completed(waiting):
                submission, new, is_new = future.result()
                done[waiting[future]] = submission, new
                fresh += is_new
                if is_new:
                    written()
                on_submission(submission.student)
        except BaseException:  # a Ctrl-C too: what is marked is kept, what waits is dropped
            pool.shutdown(wait=False, cancel_futures=True)
            sandbox.close()
            raise
    if wishes.by_hand is not None:
        _set_by_hand(before, wishes.by_hand, done)
    whole = written()
    remarks = found.remarks
    absent = lists.missing(people, whole["students"])
    report.write_report(out, whole, remarks, absent)
    now = [whole["students"][name] for name in _names(found.submissions)]
    return Summary(
        submissions=len(found.submissions),
        marked=fresh,
        known=len(found.submissions) - fresh,
        failed=sum(student["failed"] for student in now),
        late=sum(student["late"] for student in now),
        remarks=remarks + ([f"nothing was handed in by: {', '.join(absent)}"] if absent else []),
    )


def _names(found: list[Submission]) -> dict[str, Any]:
    return {one.student: {} for one in found}


def _forget(before: record.Record, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in before["students"]:
            known = ", ".join(before["students"]) or "nobody"
            raise LessonError(f"there is no student {name!r} in the record, which knows: {known}")
        del before["students"][name]


def _set_by_hand(
    before: record.Record, path: Path, done: dict[int, tuple[Submission, list[Entry]]]
) -> None:
    """Put marks set by hand into the record; they replace those of an earlier table."""
    students = before["students"]
    for submission, _ in done.values():
        students.setdefault(submission.student, {"submissions": []})
    marks = lists.by_hand(path, students)
    for name, student in students.items():
        student["by_hand"] = marks.get(name, {})


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the judge's own arithmetic to one thread while submissions are marked side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Marker:
    """Marks a submission, or finds what it was marked with before."""

    lesson: str | None
    known: dict[str, Entry]
    grader: str
    sandbox: Any
    settings: Settings
    seed: int

    def mark(self, submission: Submission) -> tuple[Submission, list[Entry], bool]:
        """Return a submission's entries, one a lesson, and whether they are new."""
        for _ in range(ATTEMPTS):
            try:
                return submission, *self._mark_or_keep(submission)
            # whatever fails here is ours, and costs neither this student nor the others a mark
            except (GraderFault, Exception) as error:
                fault = error
        return submission, [self._unmarked(submission, fault)], True

    def _mark_or_keep(self, submission: Submission) -> tuple[list[Entry], bool]:
        lesson = self.lesson or submission.lesson
        try:
            data = submission.read()
        except SubmissionError as error:
            digest = _digest(self.grader, submission.name, str(error))
            told = _nothing(lesson, str(error))
            return [record.entry(submission, lesson, digest, told)], digest not in self.known
        digest = _digest(self.grader, hashlib.sha256(data).hexdigest(), lesson or "")
        keys = [digest] if lesson else [f"{digest}-{number}" for number in _lesson_numbers()]
        kept = [self.known[key] for key in [digest, *keys] if key in self.known]
        kept = list({entry["digest"]: entry for entry in kept}.values())
        if kept:
            return [record.entry(submission, e["lesson"], e["digest"], e) for e in kept], False
        if lesson:
            return [record.entry(submission, lesson, digest, self._marked(data, lesson))], True
        numbers, fault = lessons_in(data, self.sandbox, self.settings)
        if not numbers:
            told = _nothing(None, fault or NO_LESSON)
            return [record.entry(submission, None, digest, told)], True
        return [
            record.entry(submission, number, f"{digest}-{number}", self._marked(data, number))
            for number in numbers
        ], True

    def _marked(self, data: bytes, lesson: str) -> Entry:
        return mark(data, lesson, self.sandbox, self.settings, self.seed).as_dict()

    def _unmarked(self, submission: Submission, fault: BaseException) -> Entry:
        """Return the entry of what the grader failed at; the next run tries it again."""
        lesson = self.lesson or submission.lesson
        frame = traceback.extract_tb(fault.__traceback__)[-1]
        sentence = (
            "the grader failed, which is no fault of the notebook; the next run tries it again "
            f"({type(fault).__name__} in {Path(frame.filename).name}, line {frame.lineno}: {fault})"
        )
        return record.entry(submission, lesson, record.UNKNOWN, _nothing(lesson, sentence))


def _lesson_numbers() -> list[str]:
    return sorted({id_[:2] for id_ in all_exercises()})


def _nothing(lesson: str | None, fault: str) -> Entry:
    return Marked.nothing(exercises_of(lesson) if lesson else [], fault).as_dict()


def version() -> str:
    """Return a digest of all that decides a mark: the library with its exercises, and torch."""
    sources = [path.read_bytes() for path in sorted(PACKAGE.rglob("*.py"))]
    return _digest(torch.__version__, *(hashlib.sha256(s).hexdigest() for s in sources))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
