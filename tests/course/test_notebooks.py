"""Notebooks: found, read, run, and how a run is read."""

from pathlib import Path

import nbformat
import pytest
from masters import write
from nbformat.v4 import new_code_cell, new_notebook

from mmlite import cli
from mmlite.course import notebooks
from mmlite.course.claims import read_claims
from mmlite.course.notebooks import LessonError

ROOT = Path(__file__).resolve().parents[2]


def test_a_claim_is_found_behind_a_cell_that_ends_within_a_line():
    texts = ["epoch 1 done", "✗ claim fails: small (must be ≤ 1; measured ≈ 2)\n"]
    cells = [new_code_cell("", outputs=[nbformat.v4.new_output("stream", text=t)]) for t in texts]
    (found,) = read_claims(notebooks.printed(new_notebook(cells=cells)))
    assert not found.holds


def test_run_reads_claims_and_faults_and_leaves_the_file(tmp_path):
    path = write(
        tmp_path / "n.ipynb",
        "from mmlite import claim\nclaim('one is small', 1, at_most=2)",
        "claim('three is small', 3, at_most=2)",
        "raise ValueError('enough')",
        "claim('never reached', 1, at_most=2)",
    )
    before = path.read_bytes()
    result = notebooks.run(path)
    assert [claim.holds for claim in result.claims] == [True, False]
    assert "ValueError: enough" in result.fault
    assert not result.passed
    assert path.read_bytes() == before


def test_a_notebook_whose_kernel_dies_is_reported(tmp_path):
    path = write(tmp_path / "n.ipynb", "import os\nos._exit(1)")
    assert "stopped" in notebooks.run(path).fault


def test_dials_and_progress_bars_leave_no_widget_state(tmp_path):
    path = write(
        tmp_path / "n.ipynb",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), leave=False): pass",
        "from ipywidgets import FloatSlider\nFloatSlider(0.5)",
    )
    nb = notebooks.read_notebook(path)
    notebooks.execute(nb, tmp_path)
    assert "widgets" not in nb.metadata
    assert nb.cells[1].outputs == []
    assert "widget-view" not in nbformat.writes(nb)
    assert "FloatSlider" in nbformat.writes(nb)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe\x00", b"not json", b"[1]"])
def test_what_is_no_notebook_is_refused(tmp_path, content):
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(LessonError, match=r"n\.ipynb is not a Jupyter notebook"):
        notebooks.read_notebook(path)
    with pytest.raises(LessonError, match="cannot be read"):
        notebooks.read_notebook(tmp_path / "missing.ipynb")


def test_lessons_are_found_by_number_name_and_path(tmp_path):
    folder = tmp_path / "lessons"
    folder.mkdir()
    one, two = write(folder / "01_a.ipynb"), write(folder / "02_b.ipynb")
    assert notebooks.find_lessons(folder, []) == [one, two]
    assert notebooks.find_lessons(folder, ["2", "01_a"]) == [two, one]
    assert notebooks.find_lessons(folder, ["lessons/01_a.ipynb"]) == [one]
    with pytest.raises(LessonError, match=r"no lesson '7' in .*; the lessons are: 01_a, 02_b"):
        notebooks.find_lessons(folder, ["7"])
    (folder / "deep").mkdir()
    assert notebooks.find_course(folder / "deep") == tmp_path
    assert notebooks.find_lessons(folder, [str(two)]) == [two]
    for elsewhere in ("mine/01_a.ipynb", str(tmp_path / "solutions" / "01_a.ipynb")):
        with pytest.raises(LessonError, match=r"01_a.ipynb is not in .*lessons, and only"):
            notebooks.find_lessons(folder, [elsewhere])


def test_what_a_lesson_reads_is_found_above_it_or_in_the_clone_or_else_it_is_said(tmp_path):
    mine = tmp_path / "work" / "deep"
    mine.mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir()
    assert notebooks.find_in_course("benchmarks", mine) == tmp_path / "benchmarks"
    trial = notebooks.find_in_course("benchmarks/trial", mine)  # the clone that is installed
    assert (trial / "protocol.toml").exists()
    with pytest.raises(LessonError, match=r"nowhere/x is not at or above .*deep; it comes with"):
        notebooks.find_in_course("nowhere/x", mine)


def test_where_there_are_no_lessons_it_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "lessons").mkdir()
    write(tmp_path / "lessons" / "01_a.ipynb", "1")
    (tmp_path / "lessons" / "solutions").mkdir()
    monkeypatch.chdir(tmp_path / "lessons")  # a folder of another's called solutions is no course
    assert notebooks.find_course() == tmp_path
    for arguments in (["run", "--solutions"], ["build"], ["build", "--check"]):
        assert cli.main(["lessons", *arguments]) == 2
        assert "there are no lessons in" in capsys.readouterr().err
    assert cli.main(["bench"]) == 2
    assert "there are no benchmarks in" in capsys.readouterr().err


def test_lessons_have_names():
    assert notebooks.lesson_names(ROOT)["01"] == "contrastive"
