"""The faults that the lessons' claims are tried with: each can be put into the library of today."""

import json
import tomllib
from pathlib import Path

import pytest

from mmlite.course.claims import read_claims
from mmlite.course.notebooks import code_cells, find_lessons, printed, read_notebook

COURSE = Path(__file__).resolve().parents[2]
TABLES = tomllib.loads((COURSE / "benchmarks" / "faults.toml").read_text("utf-8"))
FAULTS = TABLES["faults"]
LESSONS = {path.stem[:2]: path for path in find_lessons(COURSE / "lessons", [])}


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


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_claim_has_failed_under_a_fault_or_stands_on_no_library(lesson):
    stored = (COURSE / "benchmarks" / "results" / "claims.json").read_text("utf-8")
    broken = {
        claim
        for row in json.loads(stored)["figures"]
        if row["lesson"] == lesson
        for claim in row["fail"]
    }
    alone = {one["claim"] for one in TABLES["alone"] if one["lesson"] == lesson}
    found = read_claims(printed(read_notebook(LESSONS[lesson])))
    claims = {claim.statement for claim in found}
    assert claims - broken - alone == set()
    assert alone <= claims
    assert not alone & broken  # what a fault breaks needs no excuse
