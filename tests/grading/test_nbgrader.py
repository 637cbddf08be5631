"""nbgrader takes the masters as they are, and comes to the marks that `mmlite grade` comes to."""

import copy
import json
import re
from pathlib import Path

import executed
import nbformat
import pytest

from mmlite import cli
from mmlite.course.notebooks import read_notebook

pytestmark = pytest.mark.xdist_group("nbgrader")  # one set-up for all, in one worker

ROOT = Path(__file__).resolve().parents[2]
NAME = "01_contrastive"
WRONG = "def my_knn_vote(similarity, labels, classes, temperature):\n    return labels[:, 0]"


def nbgrader(course: Path, folder: Path, step: str) -> None:
    done = executed.nbgrader(folder, step, NAME, course)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """Make a course of the master of lesson 01 without its training cells.

    nbgrader runs a notebook whole, a minute and a half for each of three submissions. Its marks
    come from the check cells alone, and these and the answers need the setup cell alone; so those
    are kept, word for word and with their metadata, and nothing else is.
    """
    if not (ROOT / "solutions").exists():
        pytest.skip("no masters here, as in an sdist; take a clone")
    folder = tmp_path_factory.mktemp("course")
    master = read_notebook(ROOT / "solutions" / f"{NAME}.ipynb")
    master.cells = [c for c in master.cells if c.id == "setup" or "nbgrader" in c.metadata]
    assert len(master.cells) == 1 + 2 * 8
    (folder / "solutions").mkdir()
    nbformat.write(master, folder / "solutions" / f"{NAME}.ipynb")
    return folder


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory) -> Path:
    """Make a class with nbgrader, from assignment to feedback."""
    folder = tmp_path_factory.mktemp("class")
    nbgrader(course, folder, "generate_assignment")
    released = read_notebook(folder / "release" / "solutions" / f"{NAME}.ipynb")
    master = read_notebook(course / "solutions" / f"{NAME}.ipynb")
    answers = {c.id: c.source for c in master.cells if c.id.startswith("answer-")}
    half = {id_: answers[id_] for id_ in ("answer-1", "answer-4", "answer-6")}
    for student, given in (
        ("perfect", answers),
        ("empty", {}),
        ("half", {**half, "answer-2": WRONG}),
    ):
        notebook = copy.deepcopy(released)
        for cell in notebook.cells:
            cell.source = given.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
        place = folder / "submitted" / student / "solutions"
        place.mkdir(parents=True)
        nbformat.write(notebook, place / f"{NAME}.ipynb")
    nbgrader(course, folder, "autograde")
    nbgrader(course, folder, "generate_feedback")
    return folder


def test_nbgrader_releases_what_we_release(graded):
    released = read_notebook(graded / "release" / "solutions" / f"{NAME}.ipynb")
    lesson = {c.id: c.source for c in read_notebook(ROOT / "lessons" / f"{NAME}.ipynb").cells}
    for cell in released.cells:
        # the stubs' words differ: nbgrader's name no function
        assert cell.source.split("raise")[0] == lesson[cell.id].split("raise")[0]


def test_nbgrader_comes_to_the_same_marks(graded, tmp_path):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{graded / 'gradebook.db'}") as book:
        theirs = {
            student: {
                f"01.{grade.name.removeprefix('check-')}": grade.score
                for grade in book.find_submission_notebook(NAME, "solutions", student).grades
            }
            for student in ("perfect", "empty", "half")
        }
    assert cli.main(["grade", str(graded / "submitted"), "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "grades.json").read_text(encoding="utf-8"))
    ours = {
        name: {mark["exercise"]: mark["points"] for mark in student["submissions"][0]["marks"]}
        for name, student in record["students"].items()
    }
    assert ours == theirs
    assert {name: sum(marks.values()) for name, marks in ours.items()} == {
        "perfect": 21,
        "empty": 0,
        "half": 8,
    }


def test_nbgraders_feedback_is_there(graded):
    page = (graded / "feedback" / "half" / "solutions" / f"{NAME}.html").read_text(encoding="utf-8")
    assert re.search(r"Score:\s*8\.0\s*/\s*21\.0", page)
