"""The faults that the lessons' claims are tried with: each can be put into the library of today."""

import tomllib
from pathlib import Path

import pytest

from mmlite.course.notebooks import code_cells, read_notebook

COURSE = Path(__file__).resolve().parents[2]
TABLES = tomllib.loads((COURSE / "benchmarks" / "faults.toml").read_text("utf-8"))
FAULTS = TABLES["faults"]
LESSONS = {path.stem[:2]: path for path in (COURSE / "lessons").glob("[0-9][0-9]_*.ipynb")}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["name"])
def test_a_fault_changes_one_place_of_the_library_that_still_compiles(fault):
    text = (COURSE / "mmlite" / fault["file"]).read_text("utf-8")
    assert text.count(fault["right"]) == 1
    assert fault["right"] != fault["wrong"]
    compile(text.replace(fault["right"], fault["wrong"]), fault["file"], "exec")


def test_faults_name_cells_of_the_lessons():
    ids = {lesson: {c.id for c in code_cells(read_notebook(p))} for lesson, p in LESSONS.items()}
    for fault in FAULTS:
        for lesson, cells in fault["lessons"].items():
            asked = {one for stretch in cells.split() for one in stretch.split("..")} - {"all"}
            assert asked <= ids[lesson], (fault["name"], lesson)


def test_names_tell_faults_apart():
    assert len({fault["name"] for fault in FAULTS}) == len(FAULTS)
