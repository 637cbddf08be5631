"""A class, marked once and again."""

import csv
import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import corpus
import pytest
from classes import (
    LESSONS,
    QUICK,
    ROOT,
    Instead,
    common_files,
    files_of,
    leftovers,
    make,
    run_class,
    sandbox_of,
    small_class,
)

from mmlite import cli
from mmlite.cli.arguments import local_time
from mmlite.course.notebooks import LessonError
from mmlite.grading.host import batch, marking
from mmlite.grading.host.remote import GraderFault, Settings


def test_a_rerun_changes_nothing_and_marks_only_what_changed(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    assert run_class(source, out, box) == batch.Summary(3, marked=3, known=0, failed=1, late=0)
    before = files_of(out)
    still = Instead()
    still.description = box.description
    assert run_class(source, out, still) == batch.Summary(3, 0, 3, failed=1, late=0)
    assert files_of(out) == before
    (source / "bob.ipynb").write_bytes((source / "ada.ipynb").read_bytes())
    (source / "eve.ipynb").unlink()
    assert run_class(source, out, box).submissions == 2
    after = files_of(out)
    assert after["feedback/eve.html"] == before["feedback/eve.html"]  # what was marked stays
    assert after["feedback/bob.html"] != before["feedback/bob.html"]
    assert after["feedback/ada.html"] == before["feedback/ada.html"]
    with pytest.raises(pytest.fail.Exception, match="marked before"):  # other limits, other marks
        batch.grade(source, out, LESSONS, still, replace(QUICK, timeout=9))


def test_an_interrupted_batch_goes_on_where_it_stopped(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    marked = []

    def interrupt(student):
        marked.append(student)
        raise KeyboardInterrupt

    class Kept:  # the module's sandbox goes on after this test
        description, worker = box.description, box.worker

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        run_class(source, out, Kept(), on_submission=interrupt)
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    assert [name for name, one in record["students"].items() if one["submissions"]] == marked
    assert run_class(source, out, box).known == 1
    whole, again = tmp_path / "whole", json.loads((out / "grades.json").read_text())
    run_class(source, whole, box)
    record = json.loads((whole / "grades.json").read_text())
    assert {n: s["total"] for n, s in record["students"].items()} == {
        n: s["total"] for n, s in again["students"].items()
    }


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(tmp_path):
    source, out = small_class(tmp_path), tmp_path / "out"
    spin = corpus.body("import time\ntime.sleep(600)")
    (source / "zoe.ipynb").write_bytes(corpus.notebook(corpus.SETUP, spin))
    files = common_files()
    command = [sys.executable, "-m", "mmlite", "grade", str(source), "--out", str(out)]
    command += ["--timeout", "500", "--jobs", "2"]
    # a run of tests in the background may ignore Ctrl-C, and its children with it
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, preexec_fn=heard, **pipes) as running:
        while not (out / "grades.json").exists() or len(marked_in(out)) < 3:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        session = sandbox_of(running.pid)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
    assert running.returncode == 130
    assert b"run the same again to go on" in said
    assert b"Traceback" not in said
    assert marked_in(out) == ["ada", "bob", "eve"]
    assert leftovers(session, files, out) == []


def marked_in(out: Path) -> list[str]:
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    return [name for name, student in record["students"].items() if student["submissions"]]


def test_the_table_says_marks_lateness_and_failure(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    noon = datetime(2026, 11, 30, 12)
    for name, hour in (("ada", 11), ("bob", 13), ("eve", 11)):
        stamp = noon.replace(hour=hour).timestamp()
        os.utime(source / f"{name}.ipynb", (stamp, stamp))
    assert run_class(source, out, box, wishes=batch.Wishes(due=noon)).late == 1
    rows = list(csv.reader(io.StringIO((out / "grades.csv").read_text(encoding="utf-8-sig"))))
    ids = [f"01.{n}" for n in range(1, 9)]
    assert [row[:-1] for row in rows] == [
        ["student", "id", *ids, "total", "of", "late", "failed"],
        ["ada", "", "1", "0", "0", "0", "2", "0", "0", "0", "3", "21", "no", "no"],
        ["bob", "", "0", "0", "0", "0", "0", "2", "0", "0", "2", "21", "yes", "no"],
        ["eve", "", *[""] * 8, "0", "21", "no", "yes"],
    ]
    assert rows[1][-1].startswith("01.2: ")  # why exercise 01.2 earned nothing
    assert "not a notebook" in rows[3][-1]


def test_a_record_that_is_none_is_not_overwritten(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "grades.json").write_text("[1]")
    with pytest.raises(LessonError, match="not of an earlier run; move it away"):
        run_class(source, out, box)
    assert (out / "grades.json").read_text() == "[1]"


def test_the_command_grades_and_its_exit_code_means_something(tmp_path, capsys):
    source, out = small_class(tmp_path), tmp_path / "out"
    arguments = ["grade", str(source), "--out", str(out), "--jobs", "1", "--due", "2020-01-01"]
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert "3 submissions: 3 marked now, 0 known already" in printed.out
    assert "late: 3, with a notebook that could not be marked: 1" in printed.out
    assert "What holds each answer: " in printed.err
    (source / "eve.ipynb").unlink()
    assert cli.main([*arguments, "--forget", "eve"]) == 0
    assert "2 submissions: 0 marked now, 2 known already" in capsys.readouterr().out
    assert local_time("2026-11-30T18:00").hour == 18
    with_zone = datetime.fromisoformat("2026-11-30T18:00+00:00")
    assert local_time(with_zone.isoformat()).timestamp() == with_zone.timestamp()
    assert cli.main(["grade", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "no folder, zip or notebook" in capsys.readouterr().err
    assert cli.main([*arguments, "--lesson", "77"]) == 2
    assert "no exercises of lesson '77'" in capsys.readouterr().err


class Failing:
    """A sandbox that fails for one student, as often as it is told to."""

    def __init__(self, box, fault: BaseException, times: int):
        self.box, self.fault, self.times = box, fault, times
        self.description = box.description

    def worker(self, settings, oracle=None):
        worker = self.box.worker(settings, oracle)
        load = worker.load

        def failing(order):
            if b"unlucky" in order["notebook"] and self.times:
                self.times -= 1
                raise self.fault
            return load(order)

        worker.load = failing
        return worker

    def close(self):
        pass


@pytest.mark.parametrize("fault", [GraderFault("gone"), RuntimeError("a fault of ours")])
def test_the_graders_own_trouble_costs_no_marks_and_is_not_kept(tmp_path, box, fault):
    source, out = small_class(tmp_path), tmp_path / "out"
    (source / "eve.ipynb").write_bytes(
        corpus.notebook(corpus.SETUP, "# unlucky", corpus.COSINE, corpus.PUSH)
    )
    # once: it is tried again at once
    assert run_class(source, tmp_path / "once", Failing(box, fault, 1), jobs=2).failed == 0
    # for good: the others have their marks, the teacher is told, and the next run tries it again
    assert run_class(source, out, Failing(box, fault, 99), jobs=2).failed == 1
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    (entry,) = record["students"]["eve"]["submissions"]
    assert "the grader failed, which is no fault of the notebook" in entry["fault"]
    assert str(fault) in entry["fault"]
    assert record["students"]["ada"]["total"] == 3
    again = run_class(source, out, box)
    assert (again.marked, again.known, again.failed) == (1, 2, 0)
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    assert record["students"]["eve"]["total"] == record["students"]["ada"]["total"]


def test_lessons_with_derivatives_are_marked_side_by_side(tmp_path, box):
    # forward mode, which references and mistakes of lesson 04 take, is one to a process
    master = (ROOT / "solutions" / "04_metamask.ipynb").read_bytes()
    wrong = master.replace(b"theta - lr *", b"theta + lr *")
    names = {**LESSONS, "04": "metamask"}
    files = {f"{name}_04.ipynb": master for name in "abcd"} | {"wrong_04.ipynb": wrong}
    done = batch.grade(make(tmp_path, files), tmp_path / "out", names, box, Settings(), jobs=4)
    assert done.failed == 0
    record = json.loads((tmp_path / "out" / "grades.json").read_text(encoding="utf-8"))
    totals = {name: one["total"] for name, one in record["students"].items()}
    whole = sum(exercise.points for exercise in marking.exercises_of("04"))
    assert [totals[name] for name in "abcd"] == [whole] * 4
    assert totals["wrong"] < whole


def week(folder: Path, name: str, files: dict[str, bytes], day: int) -> Path:
    source = make(folder / name, files)
    stamp = datetime(2026, 9, day, 12).timestamp()
    for path in source.rglob("*.ipynb"):
        os.utime(path, (stamp, stamp))
    return source


def test_a_later_week_adds_to_what_is_known(tmp_path, box):
    right = corpus.notebook(corpus.SETUP, corpus.COSINE)
    wrong = corpus.notebook(corpus.SETUP, corpus.body("return a @ b.T"))
    other = corpus.notebook("def my_cross_correlation(z1, z2):\n    return z1.T @ z2")
    out = tmp_path / "out"
    first = week(
        tmp_path, "1", {"ada_01.ipynb": wrong, "bob_01.ipynb": right, "eve_01.ipynb": b""}, 3
    )
    run_class(first, out, box, wishes=batch.Wishes(due=datetime(2026, 9, 2)))
    # the second week: another lesson, another due time, who handed in lesson 01 late, and a scratch
    # file that is newer than what names its lesson
    second = week(
        tmp_path, "2",
        {
            "bob/02.ipynb": other, "ada/01.ipynb": right, "ada/scratch.ipynb": wrong,
            "zoe/02.ipynb": other,
        },
        10,
    )  # fmt: skip
    os.utime(second / "ada" / "scratch.ipynb", (2e9, 2e9))
    done = run_class(second, out, box, wishes=batch.Wishes(due=datetime(2026, 9, 11)))
    assert done.submissions == 4
    students = json.loads((out / "grades.json").read_text(encoding="utf-8"))["students"]
    said = {
        name: [
            (e["lesson"], e["late"], sum(m["points"] for m in e["marks"]))
            for e in one["submissions"]
        ]
        for name, one in students.items()
    }
    assert said["bob"][0] == ("01", True, 1)
    assert said["bob"][1][:2] == ("02", False)
    assert said["ada"] == [("01", False, 1)]
    assert students["eve"]["failed"]
    assert (out / "feedback" / "eve.html").exists()
    rows = list(csv.reader(io.StringIO((out / "grades.csv").read_text(encoding="utf-8-sig"))))
    assert {row[0] for row in rows[1:]} == {"ada", "bob", "eve", "zoe"}
    assert "01.1" in rows[0]
    assert "02.1" in rows[0]
    # a third run of the first week, without a due time: nothing is older than what it replaces
    before = files_of(out)
    run_class(first, out, box)
    now = json.loads((out / "grades.json").read_text(encoding="utf-8"))["students"]
    assert now["ada"]["submissions"] == students["ada"]["submissions"]
    assert now["bob"]["submissions"] == students["bob"]["submissions"]
    assert files_of(out)["feedback/bob.html"] == before["feedback/bob.html"]


def test_a_roster_marks_by_hand_and_who_leaves(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    roster, table = tmp_path / "roster.csv", tmp_path / "by_hand.csv"
    roster.write_text("Name;ID\nAda;1\nBob;2\nZoë;3\n", encoding="utf-8-sig")
    table.write_text("student,exercise,points,comment\nada,01.2,1.5,nearly\n", encoding="utf-8")
    wishes = batch.Wishes(roster=roster, by_hand=table)
    done = run_class(source, out, box, wishes=wishes)
    assert done.remarks == ["nothing was handed in by: Zoë"]
    for more in ({}, {"wishes": batch.Wishes()}):  # they survive a rerun without the table
        run_class(source, out, box, **more)
        students = json.loads((out / "grades.json").read_text(encoding="utf-8"))["students"]
        assert students["ada"]["total"] == 3 + 1.5
        assert "nearly" in (out / "feedback" / "ada.html").read_text(encoding="utf-8")
    table.write_text("ada,01.2,,only a word\n", encoding="utf-8")  # another table replaces it
    run_class(source, out, box, wishes=wishes)
    students = json.loads((out / "grades.json").read_text(encoding="utf-8"))["students"]
    assert students["ada"]["total"] == 3
    for line, fault in (
        ("nobody,01.2,1,", "line 2: there is no student 'nobody'"),
        ("ada,09.9,1,", "line 2: there is no exercise '09.9'"),
        ("ada,01.2,7,", "line 2: '7' is not a number of points from 0 to 2"),
        ("ada,01.2,nan,", "line 2: 'nan' is not"),
        ("ada,01.2,,", "line 2: neither points nor a comment"),
    ):
        table.write_text(f"student,exercise,points,comment\n{line}\n", encoding="utf-8")
        with pytest.raises(LessonError, match=fault):
            run_class(source, out, box, wishes=wishes)
    run_class(source, out, box, wishes=batch.Wishes(forget=("eve",)))
    with pytest.raises(LessonError, match="there is no student 'nobody' in the record"):
        run_class(source, out, box, wishes=batch.Wishes(forget=("nobody",)))
