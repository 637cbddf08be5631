"""Marks and feedback on paper."""

import csv
import io

import pytest

from mmlite.grading import report


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
    assert {path.parent.name for path in tmp_path.rglob("*.html")} == {"feedback"}
    assert not any("<b>" in page.read_text(encoding="utf-8") for page in pages)
