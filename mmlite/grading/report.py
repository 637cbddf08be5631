"""What teacher and students read: grades.csv, grades.json, and a page of feedback for each student.

Every word of a student's (a name, an error's message) is taken for hostile: escaped in HTML, kept
from being a formula in a spreadsheet.
"""

import csv
import hashlib
import html
import io
import json
import os
import re
from pathlib import Path
from typing import Any

from mmlite.exercises import find

SYMBOLS = {"passed": "✓", "not started": "○", "wrong": "✗", "missing": "–"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a spreadsheet's formula begins


def write_report(out: Path, record: dict[str, Any]) -> None:
    """Write grades.csv, grades.json and feedback/ into `out`.

    Args:
        out: a folder.
        record: what `batch.grade` gathers; see there.
    """
    write(out / "grades.json", as_json(record))
    write(out / "grades.csv", grades_csv(record))
    pages = {page_name(name): feedback(name, one) for name, one in record["students"].items()}
    folder = out / "feedback"
    folder.mkdir(exist_ok=True)
    for name, page in pages.items():
        write(folder / name, page)
    for old in folder.glob("*.html"):
        # the teacher's own stay; of ours, those of students who are no longer in the class go
        if old.name not in pages and MADE.encode() in old.read_bytes()[:500]:
            old.unlink()


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text, encoding="utf-8", newline="")
    os.replace(draft, path)


def as_json(record: dict[str, Any]) -> str:
    """Return a record as JSON."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def grades_csv(record: dict[str, Any]) -> str:
    """Return the marks as a table: a row a student, a column an exercise, total, late, failed.

    A lesson that a student did not hand in leaves its columns empty.
    """
    columns = record["exercises"]
    stream = io.StringIO()
    # quoted, for some spreadsheets part cells at a ; too
    table = csv.writer(stream, lineterminator="\r\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow(["student", *columns, "total", "of", "late", "failed"])
    best = sum(find(id_).points for id_ in columns)
    for name, student in record["students"].items():
        earned = {
            m["exercise"]: m["points"] for one in student["submissions"] for m in one["marks"]
        }
        flags = ["yes" if student[flag] else "no" for flag in ("late", "failed")]
        cells = [earned.get(id_, "") for id_ in columns]
        table.writerow([harmless(name), *cells, student["total"], best, *flags])
    return stream.getvalue()


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text


def page_name(student: str) -> str:
    """Return the file name of a student's feedback, a different one for each student."""
    slug = re.sub(r"[^a-z0-9_-]+", "_", student.lower())[:60]
    if slug != student or re.search("-[0-9a-f]{8}$", slug):  # which could be another's
        slug += "-" + hashlib.sha256(student.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{slug}.html"


MADE = '<meta name="generator" content="mmlite grade">'
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{made}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }}
section {{ border-left: 4px solid #999; padding: 0 0 0 1rem; margin: 1.2rem 0 }}
section.passed {{ border-color: #1a7f37 }}
section.wrong {{ border-color: #b3261e }}
h3 {{ margin: 0; font-size: 1rem }}
p {{ margin: .2rem 0 }}
.tests, .notes {{ color: #555; font-size: .9rem }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{total} of {of} points{late}</p>
{lessons}
</body>
</html>
"""


def feedback(name: str, student: dict[str, Any]) -> str:
    """Return a student's page."""
    return PAGE.format(
        made=MADE,
        title=html.escape(name),
        total=student["total"],
        of=sum(mark["of"] for one in student["submissions"] for mark in one["marks"]),
        late=" · handed in late" if student["late"] else "",
        lessons="\n".join(_lesson(one) for one in student["submissions"]),
    )


def _lesson(one: dict[str, Any]) -> str:
    heading = f"Lesson {one['lesson']}" if one["lesson"] else "No lesson"
    lines = [f"<h2>{heading}</h2>", f'<p class="notes">{html.escape(one["file"])}</p>']
    if one["fault"]:
        lines.append(f"<p><strong>Not marked:</strong> {html.escape(one['fault'])}</p>")
    else:
        lines += [_exercise(mark) for mark in one["marks"]]
    if one["notes"]:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in one["notes"])
        lines.append(f'<p class="notes">Seen in the notebook:</p><ul class="notes">{notes}</ul>')
    return "\n".join(lines)


def _exercise(mark: dict[str, Any]) -> str:
    exercise = find(mark["exercise"])
    state = mark["status"].replace(" ", "-")
    message = "" if mark["status"] == "passed" else f"<p>{html.escape(mark['message'])}</p>"
    recognised = f"<p>Recognised: {html.escape(mark['mistake'])}.</p>" if mark["mistake"] else ""
    told = {} if mark["status"] == "not started" else mark["tests"]
    tests = ", ".join(f"{html.escape(name)} {'✓' if ok else '✗'}" for name, ok in told.items())
    return (
        f'<section class="{state}"><h3>{SYMBOLS[mark["status"]]} {exercise.id} '
        f"{html.escape(exercise.title)}: {mark['points']} of {mark['of']}</h3>"
        f"<p>{mark['status']}</p>{message}{recognised}"
        f'<p class="tests">{tests}</p></section>'
    )
