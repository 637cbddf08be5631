"""`mmlite lessons`: run, built and released."""

import functools
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from running import CLAIM, course, read_first

from mmlite import cli


@pytest.mark.parametrize(
    ("sources", "code", "lines"),
    [
        ([CLAIM.format(2)], 0, ["✓ one is small", "1 of 1 claims hold"]),
        ([CLAIM.format(0)], 1, ["✗ FAILS one is small", "0 of 1 claims hold"]),
        (
            [CLAIM.format(2), "1 / 0"],
            1,
            ["✓ one is small", "ZeroDivisionError", "1 of 1 claims hold, but the lesson stopped"],
        ),
    ],
)
def test_lessons_run_prints_each_claim_and_exits_by_them(
    tmp_path, monkeypatch, capsys, sources, code, lines
):
    monkeypatch.chdir(course(tmp_path, *sources))
    assert cli.main(["lessons", "run", "01"]) == code
    printed = capsys.readouterr()
    for line in lines:
        assert line in printed.out
    assert "cell" in printed.err  # the progress bar


def test_lessons_run_can_run_the_masters(tmp_path, monkeypatch, capsys):
    folder = course(tmp_path, CLAIM.format(2))
    (folder / "lessons" / "01_small.ipynb").write_text("broken")
    monkeypatch.chdir(folder)
    assert cli.main(["lessons", "run", "--solutions"]) == 0


def test_lessons_build_and_its_check(tmp_path, monkeypatch, capsys):
    folder = course(tmp_path, CLAIM.format(2))
    monkeypatch.chdir(folder)
    master = folder / "solutions" / "01_small.ipynb"
    nb = nbformat.read(master, 4)
    nb.cells[0].source += "\nprint('new')"
    nbformat.write(nb, master)
    assert cli.main(["lessons", "build", "--check"]) == 1
    assert "cell cell-0: its source or metadata is not what the" in capsys.readouterr().out
    assert cli.main(["lessons", "build"]) == 0
    assert cli.main(["lessons", "build", "--check"]) == 0
    assert "1 lessons are what their masters make" in capsys.readouterr().out
    assert nbformat.read(folder / "lessons" / "01_small.ipynb", 4).metadata.mmlite.seconds >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lessons", "run", "77"], "there is no lesson '77' in"),
        (["lab", "77"], "there is no lesson '77' in"),
    ],
)
def test_an_unknown_lesson_is_a_sentence_and_exit_code_2(capsys, arguments, message):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_ends_a_lesson_with_a_word(tmp_path):
    course(tmp_path, "import time\nopen('begun', 'w').close()\ntime.sleep(600)")
    command = [sys.executable, "-m", "mmlite", "lessons", "run"]
    # a run of tests in the background may ignore Ctrl-C, and its children with it
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=heard, **pipes) as running:
        deadline = time.monotonic() + 300
        while not (tmp_path / "lessons" / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
    assert running.returncode == 130, said
    assert said.endswith("mmlite: stopped\n")
    assert "Traceback" not in said


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is another error on Windows")
def test_lessons_run_ends_with_who_reads_it(tmp_path):
    folder = course(tmp_path, CLAIM.format(2))
    code, said = read_first(["lessons", "run"], 0, cwd=folder)
    assert code == 141
    assert "Traceback" not in said
