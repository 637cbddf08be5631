"""What a notebook calls, in a real kernel and outside: verdicts, progress, solutions."""

import json
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

import mmlite
from mmlite.course import notebooks, progress
from mmlite.exercises import all_exercises, find
from mmlite.exercises.solution import solution

SETUP = """
import os
os.environ["MMLITE_PROGRESS"] = {path!r}
import mmlite
import torch.nn.functional as F
"""
RIGHT = """
def my_cosine_similarity(a, b):
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
"""
CHECK = 'cosine = mmlite.check("01.1", my_cosine_similarity)'
GREEN, RED = "\x1b[32m✓\x1b[0m", "\x1b[31m✗\x1b[0m"


def shown(folder: Path, *sources: str, path: str = "off") -> list[str]:
    """Return what each cell shows, errors too, of a notebook that goes on after them."""
    texts = [SETUP.format(path=path), *sources]
    cells = [new_code_cell(text, metadata={"tags": ["raises-exception"]}) for text in texts]
    notebook = new_notebook(cells=cells)
    notebooks.execute(notebook, folder)
    return [
        "".join(
            output.get("text", "") or str(output.get("data", {}).get("text/markdown", ""))
            for output in cell.outputs
            if output.output_type != "error"
        )
        for cell in notebook.cells[1:]
    ]


def test_a_check_in_a_notebook(tmp_path):
    raising = """def my_cosine_similarity(a, b):
    a = F.normalize(a, dim=1)
    return a @ b
"""
    printing = RIGHT.replace("return", "print('here'); return")
    late = "1 / 0\n" + RIGHT.replace("F.normalize(a, dim=1)", "a")
    broken = "def my_cosine_similarity(a, b):\n    return (a @ b.T\n"
    cells = [RIGHT, CHECK, raising, CHECK, printing, CHECK, broken, CHECK, late, CHECK]
    cells += [RIGHT, CHECK, 'mmlite.progress("01")']
    said = shown(tmp_path, *cells)
    passed = f"{GREEN} exercise 01.1 passed: cosine similarity of all pairs\n"
    assert said[1] == said[11] == passed
    assert said[3].startswith(f"{RED} exercise 01.1: my_cosine_similarity raised RuntimeError: ")
    assert ", in line 3: return a @ b)" in said[3]
    assert said[5] == "here\n" + passed
    assert f"{RED} exercise 01.1: the newest cell that defines my_cosine_similarity" in said[7]
    assert "SyntaxError: '(' was never closed (line 2: return (a @ b.T)" in said[7]
    assert "Nothing was judged" in said[7]
    assert "an error stopped it before it came to the function" in said[9]
    assert "passed" not in said[9]
    assert "Lesson 01: 1 of 8 exercises passed" in said[12]
    assert "01.1 cosine similarity of all pairs: passed\n" in said[12]
    assert "01.2" in said[12]


def test_a_wrapped_answer_and_one_from_a_file_are_judged(tmp_path):
    (tmp_path / "mine.py").write_text("import torch.nn.functional as F\n" + RIGHT)
    wrapped = "import functools\n@functools.lru_cache\n" + RIGHT.strip()
    said = shown(tmp_path, wrapped, CHECK, "from mine import my_cosine_similarity", CHECK)
    assert "passed" in said[1]
    assert "passed" in said[3]


def test_progress_stays_and_a_solution_is_shown_after_a_try(tmp_path):
    path = tmp_path / "new" / "mine.json"
    before, _, after = shown(
        tmp_path, 'mmlite.reveal("01.1")', RIGHT + CHECK, 'mmlite.reveal("01.1")', path=str(path)
    )
    assert before.startswith("Try it first")
    assert "def cosine_similarity" in after
    assert "def cosine_similarity" not in before
    day_one = json.loads(path.read_text())
    assert list(day_one) == ["01.1"]
    assert day_one["01.1"]["tries"] == 1
    progress_again, solution_again = shown(
        tmp_path, 'mmlite.progress("01")', 'mmlite.reveal("01.1")', path=str(path)
    )
    assert f"01.1 cosine similarity of all pairs: passed {day_one['01.1']['passed']}\n" in (
        progress_again
    )
    assert "def cosine_similarity" in solution_again


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("MMLITE_PROGRESS", str(path))
    monkeypatch.setattr(progress, "_session", {})
    return path


def wrong(a, b):
    return a @ b.T


def test_the_first_pass_is_kept_whatever_comes_after(file, capsys):
    mmlite.check("01.1", wrong)
    assert progress.attempts()["01.1"] == progress.Attempts(tries=1, passed=None)
    mmlite.check("01.1", find("01.1").reference)
    first = progress.attempts()["01.1"].passed
    assert first
    mmlite.check("01.1", wrong)
    assert progress.attempts()["01.1"] == progress.Attempts(tries=3, passed=first)


def test_an_exercise_that_is_not_started_is_no_try(file, capsys):
    def stub(a, b):
        raise NotImplementedError

    mmlite.check("01.1", stub)
    assert not file.exists()


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"01.1": 3}', '{"01.1": {"x": 1}}', "\udcff"])
def test_a_damaged_file_is_put_aside_and_costs_no_check(file, capsys, damage):
    file.write_bytes(damage.encode("utf-8", "surrogateescape"))
    mmlite.check("01.1", find("01.1").reference)
    assert "passed" in capsys.readouterr().out
    assert list(json.loads(file.read_text())) == ["01.1"]
    assert file.with_name("progress.json.damaged").exists()


def test_where_nothing_can_be_kept_the_check_says_so_and_the_session_knows(file, capsys):
    file.mkdir()  # a folder stands in the file's place
    reference = find("01.1").reference
    assert mmlite.check("01.1", reference) is reference
    said = capsys.readouterr().out
    assert "✓ exercise 01.1 passed" in said
    assert "Your progress is not kept: " in said
    mmlite.progress("01")
    assert "is not known" in capsys.readouterr().out
    mmlite.reveal("01.1")
    assert "is not known" in capsys.readouterr().out


def test_progress_of_no_lesson_is_refused():
    with pytest.raises(ValueError, match="there is no lesson '1'; the lessons are: 01, 02"):
        mmlite.progress("1")


def test_a_release_without_solutions_says_so(file, capsys, monkeypatch):
    mmlite.check("01.1", wrong)
    monkeypatch.setitem(sys.modules, "mmlite.exercises.solution", None)
    capsys.readouterr()
    mmlite.reveal("01.1")
    assert capsys.readouterr().out.startswith("This copy of the course has no solutions")


@pytest.mark.parametrize("id", list(all_exercises()))
def test_each_solution_shows_its_source_and_its_mistakes(id):
    exercise = find(id)
    text = solution(exercise)
    assert f"def {exercise.home.rpartition('.')[2]}" in text
    assert all(one.sentence in text for one in exercise.mistakes)
