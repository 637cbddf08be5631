"""From master to lesson: what is taken out, what is refused, how a run is read."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mmlite import classroom, cli
from mmlite.claims import read_claims
from mmlite.classroom import LessonError

ROOT = Path(__file__).resolve().parents[1]


def notebook(*sources: str, solution: bool = False):
    cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
    if solution:
        cells[0].metadata["nbgrader"] = {"solution": True}
    return new_notebook(cells=[new_markdown_cell("# title", id="title"), *cells])


ANSWER = """def square(x):
    ### BEGIN SOLUTION
    if x:
        return x * x
    return 0
    ### END SOLUTION
"""
CHECK = """check(square)
### BEGIN HIDDEN TESTS
assert square(3) == 9
### END HIDDEN TESTS
"""


def test_answers_become_stubs_and_hidden_tests_go():
    master = notebook(ANSWER, CHECK)
    master.cells[1].outputs = [nbformat.v4.new_output("stream", text="secret")]
    lesson = classroom.student_version(master)
    assert lesson.cells[1].source == (
        "def square(x):\n    # YOUR CODE HERE\n"
        '    raise NotImplementedError("square is yours to write")'
    )
    assert lesson.cells[1].outputs == []
    assert lesson.cells[2].source == "check(square)"
    assert lesson.cells[0].source == "# title"
    assert master.cells[1].source == ANSWER  # the master stays


def test_the_stub_raises_what_the_check_takes_for_not_started():
    scope: dict = {}
    exec(classroom.student_version(notebook(ANSWER)).cells[1].source, scope)
    with pytest.raises(NotImplementedError, match="square is yours"):
        scope["square"](2)


def test_nbgrader_makes_the_same_lesson():
    # nbgrader's rule in one line each, from its documentation of ClearSolutions and
    # ClearHiddenTests: what stands between the markers goes.
    master = notebook(ANSWER, CHECK)
    lesson = classroom.student_version(master)
    for before, after in zip(master.cells, lesson.cells, strict=True):
        kept = re.sub(r"(?s)[ ]*### BEGIN (\w+).*?### END \1[^\n]*\n?", "", before.source)
        assert all(line in after.source for line in kept.split("\n"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("### BEGIN SOLUTION\nx = 1", "'### BEGIN SOLUTION' without '### END SOLUTION'"),
        ("x = 1\n### END SOLUTION", "'### END SOLUTION' without"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "a second"),
        ("### BEGIN HIDDEN TESTS\n", "without '### END HIDDEN TESTS'"),
    ],
)
def test_markers_without_partners_are_refused(source, message):
    with pytest.raises(LessonError, match=f"cell cell-0: .*{message}"):
        classroom.student_version(notebook(source))


def test_a_solution_cell_without_an_answer_marked_is_refused():
    with pytest.raises(LessonError, match="is a solution cell without '### BEGIN SOLUTION'"):
        classroom.student_version(notebook("x = 1", solution=True))


def write(path, *sources):
    nbformat.write(notebook(*sources), path)
    return path


def test_build_writes_both_executed_with_their_time(tmp_path):
    for folder in ("solutions", "lessons"):
        (tmp_path / folder).mkdir()
    master = write(
        tmp_path / "solutions" / "09_x.ipynb",
        ANSWER,
        "try:\n    print(square(2))\nexcept NotImplementedError:\n    print('open')",
    )
    lesson = tmp_path / "lessons" / "09_x.ipynb"
    cells = []
    classroom.build(master, lesson, lambda: cells.append(1))
    assert len(cells) == 4
    written = [classroom.read_notebook(path) for path in (master, lesson)]
    assert [classroom.printed(nb) for nb in written] == ["4\n", "open\n"]
    for nb in written:
        assert nb.metadata.mmlite.seconds >= 0
        assert "cores" in nb.metadata.mmlite.machine
        assert all(cell.execution_count for cell in classroom.code_cells(nb))
    assert classroom.stale(master, lesson) == []


def test_a_lesson_that_is_not_its_masters_is_stale(tmp_path):
    master = write(tmp_path / "m.ipynb", ANSWER, CHECK)
    lesson = tmp_path / "l.ipynb"
    assert classroom.stale(master, lesson) == ["l.ipynb is missing"]
    fresh = classroom.student_version(classroom.read_notebook(master))
    nbformat.write(fresh, lesson)
    assert classroom.stale(master, lesson) == []
    fresh.cells[2].source += "\nmore"
    nbformat.write(fresh, lesson)
    assert classroom.stale(master, lesson) == [
        "l.ipynb, cell cell-1: its source is not what the master makes"
    ]
    del fresh.cells[2]
    nbformat.write(fresh, lesson)
    assert classroom.stale(master, lesson) == [
        "l.ipynb has other cells than its master, or another order"
    ]


def test_build_writes_nothing_when_a_cell_fails(tmp_path):
    master = write(tmp_path / "m.ipynb", "1 / 0")
    before = master.read_bytes()
    with pytest.raises(LessonError, match="ZeroDivisionError"):
        classroom.build(master, tmp_path / "l.ipynb", lambda: None)
    assert master.read_bytes() == before
    assert not (tmp_path / "l.ipynb").exists()


def test_build_writes_nothing_when_the_lesson_fails(tmp_path):
    master = write(tmp_path / "m.ipynb", ANSWER, "square(2)")  # the stub raises
    before = master.read_bytes()
    with pytest.raises(LessonError, match="square is yours to write"):
        classroom.build(master, tmp_path / "l.ipynb", lambda: None)
    assert master.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.ipynb"]


def test_cells_without_ids_are_refused(tmp_path):
    master = notebook(ANSWER)
    for cell in master.cells:
        del cell["id"]
    master.nbformat_minor = 4
    with pytest.raises(LessonError, match=r"format 4\.4, whose cells have no ids"):
        classroom.student_version(master)


def test_a_claim_is_found_behind_a_cell_that_ends_within_a_line():
    texts = ["epoch 1 done", "✗ claim fails: small (must be ≤ 1; measured ≈ 2)\n"]
    cells = [new_code_cell("", outputs=[nbformat.v4.new_output("stream", text=t)]) for t in texts]
    (found,) = read_claims(classroom.printed(new_notebook(cells=cells)))
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
    result = classroom.run(path)
    assert [claim.holds for claim in result.claims] == [True, False]
    assert "ValueError: enough" in result.fault
    assert not result.passed
    assert path.read_bytes() == before


def test_a_notebook_whose_kernel_dies_is_reported(tmp_path):
    path = write(tmp_path / "n.ipynb", "import os\nos._exit(1)")
    assert "stopped" in classroom.run(path).fault


def test_dials_and_progress_bars_leave_no_widget_state(tmp_path):
    path = write(
        tmp_path / "n.ipynb",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), leave=False): pass",
        "from ipywidgets import FloatSlider\nFloatSlider(0.5)",
    )
    nb = classroom.read_notebook(path)
    classroom.execute(nb, tmp_path)
    assert "widgets" not in nb.metadata
    assert nb.cells[1].outputs == []
    assert "widget-view" not in nbformat.writes(nb)
    assert "FloatSlider" in nbformat.writes(nb)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe\x00", b"not json", b"[1]"])
def test_what_is_no_notebook_is_refused(tmp_path, content):
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(LessonError, match=r"n\.ipynb is not a Jupyter notebook"):
        classroom.read_notebook(path)
    with pytest.raises(LessonError, match="cannot be read"):
        classroom.read_notebook(tmp_path / "missing.ipynb")


def test_lessons_are_found_by_number_name_and_path(tmp_path):
    folder = tmp_path / "lessons"
    folder.mkdir()
    one, two = write(folder / "01_a.ipynb"), write(folder / "02_b.ipynb")
    assert classroom.find_lessons(folder, []) == [one, two]
    assert classroom.find_lessons(folder, ["2", "01_a"]) == [two, one]
    assert classroom.find_lessons(folder, ["lessons/01_a.ipynb"]) == [one]
    with pytest.raises(LessonError, match=r"no lesson '7' in .*; the lessons are: 01_a, 02_b"):
        classroom.find_lessons(folder, ["7"])
    (folder / "deep").mkdir()
    assert classroom.find_course(folder / "deep") == tmp_path
    assert classroom.find_lessons(folder, [str(two)]) == [two]
    for elsewhere in ("mine/01_a.ipynb", str(tmp_path / "solutions" / "01_a.ipynb")):
        with pytest.raises(LessonError, match=r"01_a.ipynb is not in .*lessons, and only"):
            classroom.find_lessons(folder, [elsewhere])


def test_where_there_are_no_lessons_it_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "lessons").mkdir()
    write(tmp_path / "lessons" / "01_a.ipynb", "1")
    (tmp_path / "lessons" / "solutions").mkdir()
    monkeypatch.chdir(tmp_path / "lessons")  # a folder of another's called solutions is no course
    assert classroom.find_course() == tmp_path
    for arguments in (["run", "--solutions"], ["build"], ["build", "--check"]):
        assert cli.main(["lessons", *arguments]) == 2
        assert "there are no lessons in" in capsys.readouterr().err
    assert cli.main(["bench"]) == 2
    assert "there are no benchmarks in" in capsys.readouterr().err


def contents(target: Path) -> dict[str, bytes]:
    """Return the files of a release, from a folder or a zip."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target) as archive:
            return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*.*")}


@pytest.mark.parametrize("name", ["students", "students.zip"])
def test_a_release_holds_no_answers_hidden_tests_or_masters(tmp_path, name, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    target = tmp_path / name
    assert cli.main(["lessons", "release", str(target)]) == 0
    assert "lessons without answers and hidden tests" in capsys.readouterr().out
    files = contents(target)
    lessons = sorted((ROOT / "lessons").glob("*.ipynb"))
    notebooks = [n for n in sorted(files) if n.endswith(".ipynb")]
    assert notebooks == [f"lessons/{path.name}" for path in lessons]
    assert {"README.md", "pyproject.toml", "mmlite/datasets/fashion.npz"} <= set(files)
    given_away = [b"BEGIN SOLUTION", b"BEGIN HIDDEN", b"exercises import grade", b"grade("]
    for lesson in lessons:
        text = files[f"lessons/{lesson.name}"]
        assert not [words for words in given_away if words in text]
        master = ROOT / "solutions" / lesson.name
        for line in answers(master):
            assert line in master.read_bytes()
            assert line not in text
    assert not any(n.startswith(("solutions", "tests", "benchmarks", ".git")) for n in files)
    assert not any("__pycache__" in n for n in files)
    assert cli.main(["lessons", "release", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err


def answers(master: Path) -> list[bytes]:
    """Return the lines of a master's answers that are long enough to tell, as JSON has them."""
    found = []
    for cell in classroom.read_notebook(master).cells:
        for region in re.findall(r"### BEGIN SOLUTION\n(.*?)### END", cell.source, re.DOTALL):
            lines = [line.strip() for line in region.split("\n") if len(line) > 30]
            found += [json.dumps(line, ensure_ascii=False)[1:-1].encode() for line in lines]
    assert len(found) > 5
    return found


def test_a_release_of_a_stale_lesson_is_refused(tmp_path):
    for folder in ("solutions", "lessons"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "solutions" / "01_x.ipynb", ANSWER, CHECK)
    write(tmp_path / "lessons" / "01_x.ipynb", ANSWER, CHECK)
    with pytest.raises(LessonError, match="run mmlite lessons build first"):
        classroom.release(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_released_library_stands_alone(tmp_path):
    classroom.release(ROOT, tmp_path / "out")
    code = "import mmlite; print(mmlite.__file__, len(mmlite.load('fashion', 'test')))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert done.stdout.split() == [str(tmp_path / "out" / "mmlite" / "__init__.py"), "2000"]


def test_lessons_have_names():
    assert classroom.lesson_names(ROOT)["01"] == "contrastive"
