"""Before a class is marked: the masters get all points however answers are held."""

import pytest
from classes import ROOT

from mmlite import cli
from mmlite.course.notebooks import LessonError
from mmlite.grading.host import selfcheck

MASTERS = sorted((ROOT / "solutions").glob("*.ipynb"))


@pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.stem)
def test_every_master_gets_all_points_however_it_is_held(path, any_box):
    assert selfcheck.masters(any_box, [path]) == []


def test_a_grader_that_marks_wrongly_marks_nothing(box, monkeypatch):
    selfcheck.known_answers(box)
    for source, right in ((selfcheck.RIGHT, False), (selfcheck.WRONG, True)):
        monkeypatch.setattr(selfcheck, "POINTS", {source: right})
        with pytest.raises(LessonError, match=r"does not mark rightly here: .*nothing was marked"):
            selfcheck.known_answers(box)


def test_the_command_checks_itself(monkeypatch, capsys):
    monkeypatch.setattr(selfcheck, "masters", lambda box, paths: [])
    assert cli.main(["grade", "--self-check"]) == 0
    assert f"{len(MASTERS)} masters marked: all points" in capsys.readouterr().out
    monkeypatch.setattr(selfcheck, "masters", lambda box, paths: ["x: 1 of 2 points"])
    assert cli.main(["grade", "--self-check"]) == 1
    said = capsys.readouterr().out
    assert f"x: 1 of 2 points\n{len(MASTERS)} masters marked: points were lost" in said
    assert cli.main(["grade"]) == 2
    assert "name the submissions" in capsys.readouterr().err
