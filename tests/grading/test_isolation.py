"""The corpus of hostile and unusual submissions: each its mark, and nothing left or reached."""

import json
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

import corpus
import pytest
from classes import LESSONS, QUICK, ROOT, common_files, leftovers, processes

from mmlite.classroom import LessonError
from mmlite.grading import batch, sandbox
from mmlite.grading.sandbox import Sandbox


@dataclass
class Graded:
    record: dict
    out: Path
    touched: Path
    heard: bool
    left: list[str]
    description: str


def grade_cases(cases, folder: Path, plain: bool) -> Graded:
    source, out = folder / "class", folder / "out"
    source.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        touched = folder / "touched"
        place = corpus.Place(ROOT, out, listener.getsockname()[1], touched)
        for case in cases:
            path = source / f"{case.name}.ipynb"
            data = case.make(place, path)
            if data is not None:
                path.write_bytes(data)
        before, files = processes(), common_files()
        with Sandbox(hidden=(ROOT, source, out), plain=plain) as box:
            batch.grade(source, out, LESSONS, box, QUICK, jobs=2, lesson="01")
        try:
            listener.accept()
            heard = True
        except TimeoutError:
            heard = False
    for path in source.iterdir():  # 200 MB of it
        path.unlink()
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    left = leftovers(before, files, out)
    return Graded(record, out, touched, heard, left, box.description)


def namespaces_are_there() -> bool:
    try:
        with Sandbox() as box:
            return box.description == sandbox.NAMESPACES
    except LessonError:
        return False


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Graded:
    if not namespaces_are_there():
        pytest.skip(
            "no sandbox of namespaces starts here, and hostile code is not let loose without; "
            "`mmlite grade` says what is in force: keep the environment out of the "
            "system's temporary folder, and let ordinary users create namespaces"
        )
    return grade_cases(corpus.CASES, tmp_path_factory.mktemp("corpus"), plain=False)


def assert_outcome(case: corpus.Case, record: dict) -> None:
    student = record["students"][case.name]
    (entry,) = student["submissions"]
    first = entry["marks"][0]
    assert student["failed"] == (case.status is None)
    assert first["status"] == (case.status or "missing")
    assert re.search(case.says, entry["fault"] or first["message"]), first["message"]
    assert student["total"] == case.total
    assert not case.note or any(re.search(case.note, note) for note in entry["notes"])


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_each_submission_of_the_corpus_gets_what_it_is_worth(case, graded):
    assert_outcome(case, graded.record)


def test_the_corpus_leaves_nothing_and_reaches_nothing(graded):
    assert len(corpus.CASES) >= 30
    assert graded.left == []
    assert not graded.heard
    assert not graded.touched.exists()
    assert "forger" not in graded.record["students"]
    assert sorted(p.name for p in graded.out.iterdir()) == ["feedback", "grades.csv", "grades.json"]


def test_pages_of_the_corpus_hold_no_students_markup(graded):
    page = (graded.out / "feedback" / "hostile-error.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;=1+1&lt;/b&gt;" in page
    assert "<script" not in page
    assert "\x1b" not in page
    for path in (graded.out / "feedback").iterdir():
        assert len(path.read_bytes()) < 20_000


def test_a_page_tells_hidden_tests_by_name_only(graded):
    page = (graded.out / "feedback" / "memorised.html").read_text(encoding="utf-8")
    assert "instant check ✓, hidden test 1 ✗" in page
    assert "right in the instant check, but not for inputs of other sizes" in page
    section = page[page.index("01.1") : page.index("01.2")]
    assert not re.search(r"\[\d+, \d+\]|expected \S+, got", section)


PLAIN = {
    "endless-loop", "fork-bomb", "forked-memory-bomb", "disk-fill", "daemon", "os-exit",
    "memory-bomb", "flood", "by-numpy",
}  # fmt: skip
if os.geteuid() == 0:  # else a worker is the grader's own user, and its files are not told apart
    PLAIN.add("litter")


def test_without_namespaces_limits_hold_and_nothing_is_left(tmp_path):
    cases = [case for case in corpus.CASES if case.name in PLAIN]
    graded = grade_cases(cases, tmp_path, plain=True)
    assert graded.description == sandbox.PLAIN
    for case in cases:
        assert_outcome(case, graded.record)
    assert graded.left == []
