"""Marks and feedback on paper."""

import csv
import io
import re
import zipfile
from urllib.parse import unquote

import pytest

from mmlite.exercises import find
from mmlite.grading.host import record as records, report


def record_of(*students: str) -> dict:
    student = {"submissions": [], "total": 0, "late": False, "failed": False}
    return {"students": dict.fromkeys(students, student), "exercises": ["01.1"]}


def test_every_name_is_quoted_and_no_two_share_a_page(tmp_path):
    # some spreadsheets part cells at a semicolon, and a formula could begin behind it
    table = report.grades_csv(record_of("x;=1+1"))
    assert '"x;=1+1",' in table
    students = ["Ada", report.page_name("Ada").removesuffix(".html")]
    report.write_report(tmp_path, record_of(*students))
    assert len(list((tmp_path / "feedback").iterdir())) == 2
    (tmp_path / "feedback" / "notes.html").write_text("<p>the teacher's own</p>")
    report.write_report(tmp_path, record_of("bob"))
    kept = sorted(path.name for path in (tmp_path / "feedback").iterdir())
    assert kept == ["bob.html", "notes.html"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1"])
def test_a_name_is_no_formula(name):
    row = list(csv.reader(io.StringIO(report.grades_csv(record_of(name)))))[1]
    assert row[0] == f"'{name}"


def test_names_are_kept_from_markup_paths_and_each_other(tmp_path):
    students = ["<b>ada</b>", "../ada", "ada", "Ada", "ADA", "ada/..", "a" * 300, "é", "ö"]
    report.write_report(tmp_path, record_of(*students))
    pages = list((tmp_path / "feedback").iterdir())
    assert len(pages) == len(students)
    assert len({page.name.lower() for page in pages}) == len(students)
    index = tmp_path / "index.html"
    assert {path.parent.name for path in tmp_path.rglob("*.html") if path != index} == {"feedback"}
    # and the page of the class links each of them
    links = re.findall(r'href="feedback/([^"]*)"', index.read_text(encoding="utf-8"))
    assert {unquote(link) for link in links} == {page.name for page in pages}
    assert "é.html" in {page.name for page in pages}
    assert not any("<b>" in page.read_text(encoding="utf-8") for page in pages)


def mark(exercise: str, points: int, status: str, **more) -> dict:
    of = find(exercise).points
    return {"exercise": exercise, "points": points, "of": of, "status": status, "message": "why",
            "mistake": None, "tests": {}, "alike": "", "size": 0, **more}  # fmt: skip


def student_with(*marks: dict, **more) -> dict:
    entry = {
        "lesson": "01", "file": "f.ipynb", "modified": "2026-09-03T11:05:33", "clock": "a clock",
        "late": False, "due": None, "guessed": False, "digest": "d", "marks": list(marks),
        "notes": [], "fault": None,
    }  # fmt: skip
    student = {"submissions": [entry], "number": "", "folder": "", **more}
    records.summed(student)
    return student


def test_the_page_of_the_class_tells_what_is_common(tmp_path):
    copied = {"alike": "abc", "size": 80}
    short = {"alike": "def", "size": 9}
    students = {
        "Ada": student_with(
            mark("01.1", 1, "passed", **short), mark("01.2", 2, "passed", **copied), folder="A_1_"
        ),
        "Bob": student_with(
            mark("01.1", 1, "passed", **short), mark("01.2", 0, "wrong", mistake="τ", **copied)
        ),
        "李雷": student_with(mark("01.1", 0, "wrong", mistake="<b>"), mark("01.2", 0, "missing")),
    }
    record = {"students": students, "exercises": ["01.1", "01.2"]}
    report.write_report(tmp_path, record, ["a <remark>"], ["Eve"])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<(?!/?(?:remark|b)>)[^>]*>", " ", page))
    assert "Ada ✓ 1 ✓ 2 3" in text
    assert "李雷 ✗ 0 – 0 0" in text
    assert "passed 2 1" in text
    assert re.search(r"01\.2 [^<]* τ 1", text)
    assert "&lt;b&gt; 1" in text
    assert "Nothing was handed in by Eve" in text
    assert "(80 parts): Ada, Bob" in text
    assert "(9 parts)" not in text
    assert "a &lt;remark&gt;" in text
    assert "<script" not in page
    with zipfile.ZipFile(tmp_path / "feedback.zip") as archive:
        assert archive.namelist() == ["A_1_/feedback.html"]
    rows = list(csv.reader(io.StringIO((tmp_path / "grades.csv").read_text("utf-8-sig"))))
    assert rows[0] == ["student", "id", "01.1", "01.2", "total", "of", "late", "failed", "reasons"]
    assert rows[2][-1] == "01.2: τ"
    assert rows[-1][0] == "Eve"
    assert rows[-1][-1] == "nothing was handed in"


def test_marks_set_by_hand_are_shown_as_such(tmp_path):
    by_hand = {
        "01.1": {"points": 0.5, "comment": "<i>half"},
        "01.2": {"points": None, "comment": "well done"},
        "02.1": {"points": 1, "comment": ""},
    }
    student = student_with(mark("01.1", 0, "wrong"), mark("01.2", 2, "passed"), by_hand=by_hand)
    assert student["total"] == 3.5
    page = report.feedback("Ada", student)
    assert "Set by hand: 0.5 of 1." in page
    assert "&lt;i&gt;half" in page
    assert "well done" in page
    assert "02.1" in page
    record = {"students": {"Ada": student}, "exercises": ["01.1", "01.2", "02.1"]}
    row = list(csv.reader(io.StringIO(report.grades_csv(record))))[1]
    assert row[2:6] == ["0.5", "2", "1", "3.5"]
