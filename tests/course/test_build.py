"""From master to lesson: what is taken out, what is refused, what is written."""

import re

import nbformat
import pytest
from masters import ANSWER, CHECK, notebook, write
from nbformat.v4 import new_markdown_cell
from nbgrader.preprocessors import ClearHiddenTests, ClearMarkScheme, ClearSolutions

from mmlite.course import build, notebooks
from mmlite.course.notebooks import LessonError


def test_answers_become_stubs_and_hidden_tests_go():
    master = notebook(ANSWER, CHECK)
    master.cells[1].outputs = [nbformat.v4.new_output("stream", text="secret")]
    lesson = build.student_version(master)
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
    exec(build.student_version(notebook(ANSWER)).cells[1].source, scope)
    with pytest.raises(NotImplementedError, match="square is yours"):
        scope["square"](2)


ODD = {
    "words": "def f(x):\n    ### BEGIN SOLUTION (short)\n    return x\n    ### END SOLUTION (a)\n",
    "one sign": "def f(x):\n    # BEGIN SOLUTION: the sum\n    return x\n    # END SOLUTION #\n",
    "code": "def f(x):\n    y = 2  ### BEGIN SOLUTION\n    return y\n    z = 3  ### END SOLUTION\n",
    "twice": "### BEGIN SOLUTION\na = 1\n### END SOLUTION\nb\n"
    "### BEGIN SOLUTION\nc\n### END SOLUTION",
    "hidden": "assert f(1)\n### BEGIN HIDDEN TESTS of f\nassert f(2)\n### END HIDDEN TESTS\n",
    "scheme": "text\n=== BEGIN MARK SCHEME ===\ntwo points\n=== END MARK SCHEME ===\nmore",
}


@pytest.mark.parametrize("source", ODD.values(), ids=ODD)
@pytest.mark.parametrize("kind", ["code", "markdown"])
def test_markers_are_found_where_nbgrader_finds_them(source, kind):
    master = notebook(source)
    if kind == "markdown":
        master.cells[1] = new_markdown_cell(source, id="cell-0")
    theirs = nbformat.from_dict(master)
    theirs.metadata["kernelspec"] = {"language": "python"}
    resources = {"language": "python"}
    for peer in (ClearSolutions, ClearHiddenTests, ClearMarkScheme):
        theirs, resources = peer(enforce_metadata=False).preprocess(theirs, resources)
    ours = build.student_version(master).cells[1].source
    stub = re.sub(r"NotImplementedError\(.*\)", "NotImplementedError()", ours)
    assert stub.rstrip() == theirs.cells[1].source.rstrip()
    assert ours != source


@pytest.mark.parametrize(
    "line",
    [
        "### begin solution", "### BEGIN_SOLUTION", "#BEGINSOLUTION", "### Begin Answer",
        "### BEGIN  SOLUTION", "### BEGIN HIDDEN TEST", "# end solution", "### BEGIN-HIDDEN-TESTS",
        "### START SOLUTION", "### BEGIN MARKSCHEME", "### Begin the solution",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["code", "markdown", "raw"])
def test_what_looks_like_a_marker_and_is_none_is_refused(line, kind):
    master = notebook(f"def f(x):\n    {line}\n    return x")
    master.cells[1].cell_type = kind
    with pytest.raises(
        LessonError, match=r"cell cell-0 holds .*looks like a marker but is not one"
    ):
        build.student_version(master)


def test_prose_about_solutions_is_no_marker():
    text = "# The beginning: what ends a solution? In the end, an answer begins with a question."
    assert build.student_version(notebook(text)).cells[1].source == text


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("The loss falls.", "YOUR ANSWER HERE"),
        ("Why?\n### BEGIN SOLUTION\nIt falls.\n### END SOLUTION", "Why?\nYOUR ANSWER HERE\n"),
    ],
)
def test_a_written_answer_goes_with_its_pictures(source, left):
    master = notebook("x = 1")
    answer = new_markdown_cell(source, id="answer", metadata={"nbgrader": {"solution": True}})
    answer.attachments = {"loss.png": {"image/png": "aGlkZGVu"}}
    master.cells.append(answer)
    made = build.student_version(master).cells[-1]
    assert made.source == left
    assert "attachments" not in made


def test_what_a_machine_left_in_a_master_is_not_in_a_lesson(tmp_path):
    master = notebook(ANSWER, "1 + 1")
    conda = {"display_name": "conda env", "language": "python", "name": "conda-env-x-py"}
    master.metadata.update(kernelspec=conda, widgets={"state": {}}, answers="42")
    master.cells[1].metadata.update(nbgrader={"solution": True}, execution={"iopub": "2026"}, key=1)
    made = build.student_version(master)
    assert made.metadata == {"kernelspec": build.KERNEL}
    assert made.cells[1].metadata == {"nbgrader": {"solution": True}}
    paths = tmp_path / "m.ipynb", tmp_path / "l.ipynb"
    nbformat.write(master, paths[0])
    build.build(*paths, lambda: None)  # a kernel of that name is nowhere
    for path in paths:
        written = notebooks.read_notebook(path)
        assert set(written.metadata) == {"kernelspec", "language_info", "mmlite"}
        assert written.metadata.kernelspec == build.KERNEL
        assert "execution" not in written.cells[1].metadata
    assert build.stale(*paths) == []
    written.metadata.kernelspec = conda
    nbformat.write(written, paths[1])
    assert build.stale(*paths) == ["l.ipynb does not ask for the kernel python3"]


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
        build.student_version(notebook(source))


def test_a_solution_cell_without_an_answer_marked_is_refused():
    with pytest.raises(LessonError, match="is a solution cell without '### BEGIN SOLUTION'"):
        build.student_version(notebook("x = 1", solution=True))


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
    build.build(master, lesson, lambda: cells.append(1))
    assert len(cells) == 4
    written = [notebooks.read_notebook(path) for path in (master, lesson)]
    assert [notebooks.printed(nb) for nb in written] == ["4\n", "open\n"]
    for nb in written:
        assert nb.metadata.mmlite.seconds >= 0
        assert "cores" in nb.metadata.mmlite.machine
        assert all(cell.execution_count for cell in notebooks.code_cells(nb))
    assert build.stale(master, lesson) == []


def test_a_lesson_that_is_not_its_masters_is_stale(tmp_path):
    master = write(tmp_path / "m.ipynb", ANSWER, CHECK)
    lesson = tmp_path / "l.ipynb"
    assert build.stale(master, lesson) == ["l.ipynb is missing"]
    fresh = build.student_version(notebooks.read_notebook(master))
    nbformat.write(fresh, lesson)
    assert build.stale(master, lesson) == []
    fresh.cells[2].source += "\nmore"
    nbformat.write(fresh, lesson)
    assert build.stale(master, lesson) == [
        "l.ipynb, cell cell-1: its source or metadata is not what the master makes"
    ]
    del fresh.cells[2]
    nbformat.write(fresh, lesson)
    assert build.stale(master, lesson) == [
        "l.ipynb has other cells than its master, or another order"
    ]


def test_build_writes_nothing_when_a_cell_fails(tmp_path):
    master = write(tmp_path / "m.ipynb", "1 / 0")
    before = master.read_bytes()
    with pytest.raises(LessonError, match="ZeroDivisionError"):
        build.build(master, tmp_path / "l.ipynb", lambda: None)
    assert master.read_bytes() == before
    assert not (tmp_path / "l.ipynb").exists()


def test_build_writes_nothing_when_the_lesson_fails(tmp_path):
    master = write(tmp_path / "m.ipynb", ANSWER, "square(2)")  # the stub raises
    before = master.read_bytes()
    with pytest.raises(LessonError, match="square is yours to write"):
        build.build(master, tmp_path / "l.ipynb", lambda: None)
    assert master.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.ipynb"]


def test_cells_without_ids_are_refused(tmp_path):
    master = notebook(ANSWER)
    for cell in master.cells:
        del cell["id"]
    master.nbformat_minor = 4
    with pytest.raises(LessonError, match=r"format 4\.4, whose cells have no ids"):
        build.student_version(master)
