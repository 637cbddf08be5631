"""Who handed in what: students, lessons and times, as the names of files tell.

Three ways are known: flat files named by student (`ada.ipynb`, `ada_01_contrastive.ipynb`), folders
named by student (nbgrader's `submitted/ada/01_contrastive/01_contrastive.ipynb`), and what learning
platforms give (`platforms`). What is passed over is told, and so is what could be meant otherwise.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from mmlite.course.notebooks import LessonError
from mmlite.grading.host.files import File, SubmissionError, files_in, refused
from mmlite.grading.host.platforms import Named, gradescope, named
from mmlite.grading.host.remote import clean

OWN = re.compile(r"(^|/)(\.|__MACOSX|Thumbs\.db)")  # of systems, not of students
METADATA, TIMESTAMP = "submission_metadata.yml", "timestamp.txt"
# what lies about beside submissions, and is nobody's: lists, receipts, a platform's pages
NOBODYS = {".csv", ".tsv", ".yml", ".yaml", ".json", ".txt", ".html", ".htm", ".xml", ".log", ".md",
           ".xlsx", ".ini", ".toml", ".db"}  # fmt: skip
# what a course's own folder holds: a release handed back is one student's, whatever it is called
COURSE = {"lessons", "solutions", "mmlite", "README.md", "pyproject.toml", "environment.yml"}
# folders that hold a class
CLASS = re.compile(
    r"submi(?:tted|ssions?)|class|course|group|week|lessons?|assignments?|homework|uploads?|"
    r"hand-?ins?|exports?|download",
    re.I,
)
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
# a date's numbers are no lesson's
DATE = re.compile(
    rf"\d{{4}}[-._ ]\d{{1,2}}[-._ ]\d{{1,2}}(?:[-T_ ]\d{{1,2}}[-.:h]?\d{{2}}(?:[-.:]\d{{2}})?)?|"
    rf"\d{{1,2}}[-._ ]\d{{1,2}}[-._ ]\d{{4}}|(?<!\d)20\d{{6}}(?:[-T_]?\d{{4,6}})?(?!\d)|"
    rf"\b\d{{1,2}}\.?[-_ ]{MONTH}\b(?:[-_ ,]*\d{{4}})?|"
    rf"(?:\b|_){MONTH}[-_ ](?:\d{{1,2}}[-_ ,]+)?\d{{4}}\b",
    re.I,
)
COPY = re.compile(
    r"\s*\(\d+\)$|[-_ ]+copy\d*(?:\s*\(\d+\))?$|^(?:copy of|kopie von|copie de|copia de)\s+|"
    r"[-_ ]+kopie$|[-_ ]+checkpoint$",
    re.I,
)


@dataclass(frozen=True)
class Submission:
    """One file that a student handed in.

    Attributes:
        student: as the names tell.
        number: that a learning platform gave the student; tells two of one name apart.
        lesson: as "01", or None where no name tells.
        name: the file's, for people.
        modified: when it was handed in, or last changed, local time.
        clock: what says so.
        late: whether a platform calls it late; None where it says nothing.
        folder: under which a platform takes feedback back, or "".
        read: returns its bytes, or raises `SubmissionError`.
    """

    student: str
    number: str
    lesson: str | None
    name: str
    modified: datetime
    clock: str
    late: bool | None
    folder: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Found:
    """The submissions of a class in the order of their students, and what is to be told of them."""

    submissions: list[Submission]
    remarks: list[str]


def find_submissions(source: Path, lessons: dict[str, str]) -> Found:
    """Return the submissions of a folder, zip or notebook.

    Of several files of a student for a lesson the one that was handed in last counts, and one that
    names its lesson before one that does not. A student without a notebook gets one submission,
    whose `read` says what there was instead.

    Args:
        source: folder, zip or notebook.
        lessons: the name of each lesson by its number: {"01": "contrastive"}.

    Raises:
        LessonError: there is no such folder or zip, it is no zip, or it holds nothing.
    """
    files = [file for file in files_in(source) if not OWN.search(file.path)]
    files, remarks = _without_wrapper(files, lessons)
    submitters = _submitters(files)
    times = {str(PurePosixPath(f.path).parent): f for f in files if f.path.endswith(TIMESTAMP)}
    found, passed_over = [], []
    for file in files:
        if _is_nobodys(file, submitters):
            if not file.path.endswith((TIMESTAMP, METADATA)):
                passed_over.append(file.path)
            continue
        found.append(_submission(file, lessons, submitters, times))
    if not found:
        raise LessonError(f"{source} holds no submissions; they are .ipynb files named by student")
    chosen, dropped = _choose(_apart(found))
    remarks += _alike({one.student for one in chosen})
    for what, names in (("it is nobody's", passed_over), ("another file counts", dropped)):
        remarks += [f"passed over, for {what}: {clean(name, 200)}" for name in names]
    return Found(chosen, remarks)


def _is_nobodys(file: File, submitters: dict[str, Named]) -> bool:
    path = PurePosixPath(file.path)
    if path.name == TIMESTAMP:
        return True
    on_top = len(path.parts) == 1
    return on_top and path.suffix.lower() in NOBODYS and _receipt(file.path, submitters) is None


def _receipt(path: str, submitters: dict[str, Named]) -> Named | None:
    """Return who handed in a page of text that a platform made of it, Moodle's online text say."""
    who = named(path, submitters)
    return who if who is not None and "onlinetext" in path else None


def _submitters(files: list[File]) -> dict[str, Named]:
    for file in files:
        if PurePosixPath(file.path).name == METADATA:
            try:
                return gradescope(file.read().decode("utf-8", "replace"))
            except SubmissionError:
                continue
    return {}


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


def _alike(students: set[str]) -> list[str]:
    """Return a remark for each two names that differ in case or accents alone."""
    first: dict[str, str] = {}
    remarks = []
    for student in sorted(students):
        plain = unicodedata.normalize("NFKD", student).casefold()
        plain = "".join(c for c in plain if not unicodedata.combining(c))
        if plain in first:
            remarks.append(f"{first[plain]} and {student} are taken for two students")
        first.setdefault(plain, student)
    return remarks


def _choose(found: Iterable[Submission]) -> tuple[list[Submission], list[str]]:
    """Return the submissions that count, one a student and lesson, and the names of the others."""
    students: dict[str, dict[str | None, Submission]] = {}
    others: dict[str, Submission] = {}
    dropped = []
    for one in sorted(found, key=lambda s: (s.modified, s.name)):
        place = students.setdefault(one.student, {})
        if one.name.lower().endswith(".ipynb"):
            if one.lesson in place:
                dropped.append(place[one.lesson].name)
            place[one.lesson] = one
        else:
            others[one.student] = one
    for student, one in others.items():
        if not students[student]:
            students[student] = {one.lesson: _refused(one)}
    chosen = [
        students[student][lesson]
        for student in sorted(students)
        for lesson in sorted(students[student], key=lambda lesson: lesson or "~")
    ]
    return chosen, dropped


def _refused(one: Submission) -> Submission:
    name = PurePosixPath(one.name).name
    if name.lower().endswith(".zip"):
        return one  # its own sentence says why it cannot be read
    return replace(one, read=refused(f"{name} was handed in, which is not a notebook (.ipynb)"))


# names and times


def _submission(
    file: File, lessons: dict[str, str], submitters: dict[str, Named], times: dict[str, File]
) -> Submission:
    """Read student, lesson and time from a path."""
    path = PurePosixPath(file.path)
    stem = path.name.removesuffix(path.suffix)
    who = named(file.path, submitters)
    of_file = who.file if who and who.file and len(path.parts) == 1 else stem
    lesson, rest = split_lesson(_without_copy(of_file), lessons)
    for folder in reversed(path.parts[1:-1]):
        lesson = lesson or split_lesson(folder, lessons)[0]
    if who is None:
        first = re.sub(r"\.zip$", "", path.parts[0], flags=re.I)
        own = first if len(path.parts) > 1 else rest or _without_copy(stem)
        who = Named(own.strip() or stem)
    modified, clock = file.modified, "the file's own time"
    if who.time is not None:
        modified, clock = who.time, "the learning platform's time"
    stamp = times.get(str(path.parent))
    if stamp is not None and (time := _stamped(stamp)) is not None:
        modified, clock = time, TIMESTAMP
    if who.late is not None and clock != TIMESTAMP:
        clock = "the learning platform's mark"
    return Submission(
        clean(who.student, 100), clean(who.number, 60), lesson, clean(file.path, 300), modified,
        clock, who.late if clock != TIMESTAMP else None, who.folder, file.read,
    )  # fmt: skip


def _stamped(file: File) -> datetime | None:
    """Return the local time in nbgrader's timestamp.txt, which is in UTC if it does not say."""
    try:
        text = file.read()[:100].decode("utf-8", "replace").strip()
        time = datetime.fromisoformat(re.sub(r"\s*(?:UTC|GMT|Z)$", "+00:00", text))
    except (SubmissionError, ValueError):
        return None
    if time.tzinfo is None:
        time = datetime.fromisoformat(f"{time.isoformat()}+00:00")
    return time.astimezone().replace(tzinfo=None)


def _without_copy(stem: str) -> str:
    """Return a name without what a browser or JupyterLab adds to a copy's."""
    while (plain := COPY.sub("", stem)) and plain != stem:
        stem = plain
    return stem


def split_lesson(text: str, lessons: dict[str, str]) -> tuple[str | None, str]:
    """Return the lesson that a name tells, and the name without it."""
    # a whole name says more than a number, which may be a group's or a date's
    for number, name in lessons.items():
        found = _first(rf"{number}[_-]{re.escape(name)}", text) if name else None
        if found is not None:
            return number, found
    undated = DATE.sub(lambda match: "~" * len(match[0]), text)
    for number, name in lessons.items():
        for pattern in (number, re.escape(name)):
            if pattern and (found := _first(pattern, undated, text)) is not None:
                return number, found
    return None, text


def _first(pattern: str, text: str, shown: str | None = None) -> str | None:
    """Return `shown`, or `text`, without the first place of a pattern that stands by itself."""
    whole = rf"(?:^|(?<=[_\- .])){pattern}(?=$|[_\- .(])"
    if match := re.search(whole, text, re.IGNORECASE):
        shown = text if shown is None else shown
        return (shown[: match.start()] + shown[match.end() :]).strip("_-. ")
    return None


# the folder around a class


def _without_wrapper(files: list[File], lessons: dict[str, str]) -> tuple[list[File], list[str]]:
    """Take off a folder that holds all the students, as zips often have it.

    A folder that may be a student's stays; what could be meant otherwise is told.
    """
    remarks = []
    while len({file.path.partition("/")[0] for file in files}) == 1:
        first = files[0].path.partition("/")[0]
        inner = [File(f.path.partition("/")[2], f.modified, f.read) for f in files]
        within = {file.path.partition("/")[0] for file in inner}
        if "" in within or first.lower().endswith(".zip") or named(files[0].path, {}):
            break
        if within & COURSE or any(not split_lesson(_stem(one), lessons)[1] for one in within):
            break  # a student's own
        holds_class = bool(CLASS.search(first))
        if not holds_class and len(within) == 1:
            break
        if not holds_class:
            remarks.append(
                f"{clean(first, 100)} was taken for the folder of the class, and what is in it for "
                "students; if it is one student's, put it into a folder of its own"
            )
        files = inner
    return files, remarks


def _stem(name: str) -> str:
    return _without_copy(re.sub(r"\.ipynb$", "", name, flags=re.I))
