"""What teacher and students read: grades.csv, grades.json, index.html, a page for each student.

Every word of a student's (a name, an error's message) is taken for hostile: escaped in HTML, kept
from being a formula in a spreadsheet.
"""

import csv
import functools
import hashlib
import io
import json
import re
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from mmlite.exercises import all_exercises, find
from mmlite.grading.host import record as records
from mmlite.support.files import replacing

SYMBOLS = {"passed": "✓", "not started": "○", "wrong": "✗", "missing": "–"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a spreadsheet's formula begins
MADE = b'<meta name="generator" content="mmlite grade">'
BOM = "\ufeff"  # by which a spreadsheet knows UTF-8
ALIKE = 60  # nodes of syntax: below, answers are the same by themselves


def write_report(
    out: Path, record: dict[str, Any], remarks: Sequence[str] = (), absent: Sequence[str] = ()
) -> None:
    """Write grades.csv, grades.json, index.html and feedback/ into `out`.

    Where a platform named the submissions, feedback.zip too, by its own folders.

    Args:
        out: a folder.
        record: what `record` describes.
        remarks: about the files that were handed in.
        absent: who of the roster handed in nothing.
    """
    students = record["students"]
    write(out / "grades.json", as_json(record))
    write(
        out / "grades.csv", "\ufeff" + grades_csv(record, absent)
    )  # for spreadsheets: it is UTF-8
    write(out / "index.html", index(record, remarks, absent))
    pages = {name: feedback(name, one) for name, one in students.items()}
    folder = out / "feedback"
    folder.mkdir(exist_ok=True)
    for name, page in pages.items():
        write(folder / page_name(name), page)
    kept = {page_name(name) for name in pages}
    for old in folder.glob("*.html"):
        # the teacher's own stay; of ours, those of students whom the record has forgotten go
        if old.name not in kept and MADE in old.read_bytes()[:500]:
            old.unlink()
    _write_zip(out / "feedback.zip", {n: p for n, p in pages.items() if students[n].get("folder")},
               students)  # fmt: skip


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def as_json(record: dict[str, Any]) -> str:
    """Return a record as JSON."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _write_zip(path: Path, pages: dict[str, str], students: dict[str, Any]) -> None:
    """Write feedback as a platform takes it back: each page in the student's own folder."""
    if not pages:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, page in sorted(pages.items()):
            inner = f"{students[name]['folder']}/feedback.html"
            archive.writestr(zipfile.ZipInfo(inner, (1980, 1, 1, 0, 0, 0)), page)


# the table


def grades_csv(record: dict[str, Any], absent: Sequence[str] = ()) -> str:
    """Return the marks as a table: a row a student, a column an exercise, total, flags, reasons.

    A lesson that a student did not hand in leaves its columns empty. Reasons say why an exercise
    earned nothing.
    """
    columns = record["exercises"]
    stream = io.StringIO()
    # quoted, for some spreadsheets part cells at a ; too
    table = csv.writer(stream, lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow(["student", "id", *columns, "total", "of", "late", "failed", "reasons"])
    best = sum(find(id_).points for id_ in columns)
    for name, student in record["students"].items():
        earned = records.points(student)
        flags = ["yes" if student[flag] else "no" for flag in ("late", "failed")]
        cells = [earned.get(id_, "") for id_ in columns]
        texts = (harmless(text) for text in (name, student.get("number", "")))
        total = [student["total"], best, *flags, harmless(_reasons(student))]
        table.writerow([*texts, *cells, *total])
    for name in absent:
        none = [""] * len(columns)
        table.writerow([harmless(name), "", *none, 0, best, "no", "no", "nothing was handed in"])
    return stream.getvalue()


def _reasons(student: dict[str, Any]) -> str:
    by_hand, said = student.get("by_hand", {}), []
    for one in student["submissions"]:
        if one["fault"]:
            said.append(f"lesson {one['lesson'] or 'unknown'}: {one['fault']}")
        else:
            said += [
                f"{m['exercise']}: {m['mistake'] or m['message']}"
                for m in one["marks"]
                if not m["points"] and m["exercise"] not in by_hand
            ]
    said += [f"{id_}: {one['comment'] or 'set by hand'}" for id_, one in by_hand.items()]
    return "; ".join(said)


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text


# the pages


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _titles() -> dict[str, str]:
    return {id_: exercise.title for id_, exercise in all_exercises().items()}


def page_name(student: str) -> str:
    """Return the file name of a student's feedback, a different one for each student."""
    plain = unicodedata.normalize("NFC", student).lower()
    slug = re.sub(r"[^\w-]+", "_", plain)[:60]
    if slug != student or re.search("-[0-9a-f]{8}$", slug):  # which could be another's
        slug += "-" + hashlib.sha256(student.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{slug}.html"


def feedback(name: str, student: dict[str, Any]) -> str:
    """Return a student's page."""
    by_hand = student.get("by_hand", {})
    marked = {mark["exercise"] for one in student["submissions"] for mark in one["marks"]}
    only = {id_: one for id_, one in by_hand.items() if id_ not in marked}
    of = sum(mark["of"] for one in student["submissions"] for mark in one["marks"])
    return (
        _templates()
        .get_template("student.html")
        .render(
            title=name,
            width="46rem",
            student=student,
            total=student["total"],
            of=of + sum(find(id_).points for id_ in only),
            points=records.points(student),
            by_hand=by_hand,
            only_by_hand=only,
            symbols=SYMBOLS,
            titles=_titles(),
        )
    )


def index(record: dict[str, Any], remarks: Sequence[str] = (), absent: Sequence[str] = ()) -> str:
    """Return the page of the class: who earned what, common mistakes, answers that are the same."""
    students, columns = record["students"], record["exercises"]
    marks = [
        (name, mark)
        for name, student in students.items()
        for one in student["submissions"]
        for mark in one["marks"]
    ]
    mistakes = Counter((m["exercise"], m["mistake"]) for _, m in marks if m["mistake"])
    return (
        _templates()
        .get_template("index.html")
        .render(
            title="The class",
            width="80rem",
            isolation=record.get("isolation", "not told"),
            students=[_row(name, one, columns) for name, one in students.items()],
            exercises=columns,
            titles=_titles(),
            best=sum(find(id_).points for id_ in columns),
            passed=Counter(m["exercise"] for _, m in marks if m["status"] == "passed"),
            mistakes=[(id_, name, count) for (id_, name), count in mistakes.most_common()],
            absent=absent,
            alike=_alike(marks),
            remarks=remarks,
        )
    )


def _row(name: str, student: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    earned = records.points(student)
    status = {m["exercise"]: m["status"] for one in student["submissions"] for m in one["marks"]}
    told = [flag for flag in ("late", "failed") if student[flag]]
    told += ["set by hand"] if student.get("by_hand") else []
    cells = [
        {
            "text": f"{SYMBOLS[status[id_]]} {earned[id_]}"
            if id_ in status
            else earned.get(id_, ""),
            "status": status.get(id_, "").replace(" ", "-"),
        }
        for id_ in columns
    ]
    return {"name": name, "page": page_name(name), "cells": cells, "total": student["total"],
            "remarks": told}  # fmt: skip


def _alike(marks: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, int, list[str]]]:
    """Return exercise, size and students of longer answers that are the same."""
    groups = defaultdict(list)
    for name, mark in marks:
        if mark.get("alike") and mark["size"] >= ALIKE and mark["status"] in ("passed", "wrong"):
            groups[mark["exercise"], mark["alike"], mark["size"]].append(name)
    return sorted((id_, size, names) for (id_, _, size), names in groups.items() if len(names) > 1)
