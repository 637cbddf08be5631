"""`mmlite progress`: what a student passed, from the file that the notebooks keep."""

import json

import pytest
from running import ROOT

from mmlite import cli


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    monkeypatch.setenv("MMLITE_PROGRESS", str(path))
    monkeypatch.chdir(ROOT)
    return path


def test_each_lesson_has_a_line_and_one_lesson_its_exercises(file, capsys):
    assert cli.main(["progress"]) == 0
    assert "01 contrastive: 0 of 8 exercises passed\n" in capsys.readouterr().out
    passed = {"tries": 2, "passed": "2026-11-27 09:30"}
    file.write_text(json.dumps({"01.1": passed, "01.3": {"tries": 2, "passed": None}}))
    assert cli.main(["progress"]) == 0
    said = capsys.readouterr().out
    assert "01 contrastive: 1 of 8 exercises passed, the last one 2026-11-27 09:30\n" in said
    assert "02 redundancy: 0 of 6 exercises passed\n" in said
    for lesson in ("01", "1"):
        assert cli.main(["progress", lesson]) == 0
        said = capsys.readouterr().out
        assert "Lesson 01: 1 of 8 exercises passed\n" in said
        assert "01.1 cosine similarity of all pairs: passed 2026-11-27 09:30\n" in said
        assert ": tried 2 times\n" in said
        assert "01.4 the NT-Xent loss: open\n" in said


def test_the_courses_own_file_is_read_where_none_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MMLITE_PROGRESS")
    for folder in ("lessons", "work"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lessons" / "01_contrastive.ipynb").write_text("{}")
    passed = {"01.1": {"tries": 1, "passed": "2026-11-27 09:30"}}
    (tmp_path / "work" / "progress.json").write_text(json.dumps(passed))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["progress"]) == 0
    assert capsys.readouterr().out == (
        "01 contrastive: 1 of 8 exercises passed, the last one 2026-11-27 09:30\n"
    )


def test_what_is_no_lesson_or_no_file_is_a_sentence(file, capsys):
    assert cli.main(["progress", "99"]) == 2
    assert "mmlite: there is no lesson '99'" in capsys.readouterr().err
    file.mkdir()
    assert cli.main(["progress"]) == 2
    assert "cannot be read" in capsys.readouterr().err
