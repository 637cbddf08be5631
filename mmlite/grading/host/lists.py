"""What a teacher writes for the grader: a roster of the class, and marks set by hand."""

import csv
import unicodedata
from pathlib import Path
from typing import Any

from mmlite.course.notebooks import LessonError
from mmlite.exercises import all_exercises, find

NAMES = ("student", "name", "full name", "student name", "last name", "first name")
NUMBERS = ("id", "number", "student id", "id number", "sid", "login", "email", "email address")


def roster(path: Path) -> list[tuple[str, str]]:
    """Return names and numbers of a class.

    Args:
        path: a table with a head: a column named student or name (or first and last name), one
            named id, number, login or email, or both. Without a head the first column is names.

    Raises:
        LessonError: it cannot be read or holds nobody.
    """
    rows = _rows(path)
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    names = [head.index(one) for one in ("first name", "last name") if one in head]
    names = [head.index(one) for one in NAMES[:4] if one in head][:1] or names
    numbers = [head.index(one) for one in NUMBERS if one in head][:1]
    if names or numbers:
        rows = rows[1:]
    else:
        names = [0]
    people = [
        (_cell(row, names), _cell(row, numbers))
        for row in rows
        if any(cell.strip() for cell in row)
    ]
    if not people:
        raise LessonError(f"{path} names nobody; it is a table with a column named student or id")
    return people


def missing(people: list[tuple[str, str]], students: dict[str, Any]) -> list[str]:
    """Return who of a roster handed in nothing, by name or number."""
    known = {_plain(name) for name in students}
    known |= {_plain(one["number"]) for one in students.values() if one.get("number")}
    return [
        name or number
        for name, number in people
        if not ({_plain(one) for one in (name, number) if one} & known)
    ]


def by_hand(path: Path, students: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return marks set by hand: for each student the points and comments by exercise.

    Args:
        path: a table with the columns student, exercise, points and comment; the first row may be
            its head. An empty number of points leaves the grader's.
        students: those of the record.

    Raises:
        LessonError: a line is wrong; it says which and how.
    """
    found: dict[str, dict[str, Any]] = {}
    names = {_plain(name): name for name in students}
    for number, row in enumerate(_rows(path), start=1):
        cells = [*(cell.strip() for cell in row), "", "", "", ""][:4]
        if not any(cells) or (number == 1 and cells[0].lower() in NAMES):
            continue
        name, id_, given, comment = cells
        where = f"{path}, line {number}"
        if _plain(name) not in names:
            raise LessonError(f"{where}: there is no student {name!r} among those marked")
        if id_ not in all_exercises():
            raise LessonError(f"{where}: there is no exercise {id_!r}; they are named as 01.3")
        points = _points(given, id_, where) if given else None
        if points is None and not comment:
            raise LessonError(f"{where}: neither points nor a comment is there")
        mark = {"points": points, "comment": comment}
        found.setdefault(names[_plain(name)], {})[id_] = mark
    return found


def _points(text: str, id_: str, where: str) -> float:
    best = find(id_).points
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = -1.0
    if not 0 <= points <= best:
        raise LessonError(f"{where}: {text!r} is not a number of points from 0 to {best}")
    return int(points) if points == int(points) else points


def _cell(row: list[str], places: list[int]) -> str:
    return " ".join(row[place].strip() for place in places if place < len(row)).strip()


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip().casefold()


def _rows(path: Path) -> list[list[str]]:
    """Return the rows of a table whose cells are parted by commas, semicolons or tabs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LessonError(f"{path} cannot be read as a table in UTF-8: {error}") from error
    first = text.partition("\n")[0]
    sign = max(",;\t", key=first.count)
    return list(csv.reader(text.splitlines(), delimiter=sign))
