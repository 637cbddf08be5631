"""What an answer is worth."""

import json
from pathlib import Path

import corpus
import pytest
import right_answers
import torch
from classes import EXERCISES, QUICK, make, run_class

from mmlite.grading.host import marking


def test_one_notebook_may_answer_two_lessons(tmp_path, box):
    redundancy = "def my_copied_loss(dim, off):\n    return off * dim * (dim - 1)"
    source = make(tmp_path, {"ada.ipynb": corpus.notebook(corpus.SETUP, corpus.PUSH, redundancy)})
    run_class(source, tmp_path / "out", box)
    record = json.loads((tmp_path / "out" / "grades.json").read_text())
    assert [e["lesson"] for e in record["students"]["ada"]["submissions"]] == ["01", "02"]
    assert record["students"]["ada"]["total"] == 4
    assert len(record["exercises"]) == len(marking.exercises_of("01") + marking.exercises_of("02"))


def test_an_answer_may_build_on_earlier_ones_its_own_or_the_courses(tmp_path, box):
    loss = (
        "cosine_similarity = check('01.1', my_cosine_similarity)\n"
        "def my_nt_xent(z1, z2, temperature):\n"
        "    z = torch.cat([z1, z2])\n"
        "    s = cosine_similarity(a=z, b=z) / temperature\n"
        "    s = s.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)\n"
        "    return F.cross_entropy(s, torch.arange(len(z)).roll(len(z1)))"
    )
    files = {
        "own.ipynb": corpus.notebook(corpus.SETUP, corpus.COSINE, loss),
        "courses.ipynb": corpus.notebook(corpus.SETUP, corpus.body("return a @ b.T"), loss),
        "rebound.ipynb": corpus.notebook(
            corpus.SETUP,
            corpus.COSINE,
            "my_cosine_similarity = check('01.1', my_cosine_similarity)",
            loss.replace("cosine_similarity = check('01.1', my_cosine_similarity)\n", "").replace(
                "s = cosine", "s = my_cosine"
            ),
        ),
    }
    # a cell at the top calls what it has checked, and the answer uses what came of it
    at_once = loss.replace(
        "\ndef",
        "\nminus = [-torch.inf * cosine_similarity(torch.ones(1, 2), torch.ones(1, 2))]\ndef",
    ).replace("-torch.inf)", "minus[0].item())")
    files["own-at-once.ipynb"] = corpus.notebook(corpus.SETUP, corpus.COSINE, at_once)
    wrong = corpus.body("return a @ b.T")
    files["courses-at-once.ipynb"] = corpus.notebook(corpus.SETUP, wrong, at_once)
    run_class(make(tmp_path, files), tmp_path / "out", box)
    students = json.loads((tmp_path / "out" / "grades.json").read_text())["students"]
    totals = {name: student["total"] for name, student in students.items()}
    assert totals == {
        "own": 6,
        "courses": 5,
        "rebound": 6,
        "own-at-once": 6,
        "courses-at-once": 5,
    }


@pytest.mark.parametrize("which", [0, 1], ids=["first way", "second way"])
@pytest.mark.parametrize("lesson", sorted({exercise.id[:2] for exercise in EXERCISES}))
def test_right_answers_written_differently_get_all_their_points(lesson, which, box):
    written = right_answers.LESSONS[lesson]
    helpers = Path(written.__file__).read_text(encoding="utf-8")
    answers = {}
    for exercise in marking.exercises_of(lesson):
        name = written.RIGHT[exercise.id][which].__name__
        if name != "<lambda>":  # a lambda's source is that of the whole table
            answers[exercise.id] = f"{exercise.function} = {name}"
    data = corpus.notebook(*answers.values(), helpers)
    marked = marking.mark(data, lesson, box, QUICK, seed=5)
    said = {mark.exercise: mark.message for mark in marked.marks if mark.exercise in answers}
    assert said == dict.fromkeys(answers, "right")
    assert len(answers) >= 3


def test_a_worker_has_what_torch_imports_at_the_first_derivative(box):
    # torch imports 900 modules at the first call of torch.func and of forward mode: four seconds
    # of an exercise's time, anew for each, unless the process that workers are forked from did it
    source = """
import sys, torch
from torch.autograd import forward_ad
from torch.nn import functional as F
def imported(x):
    before = set(sys.modules)
    torch.func.jvp(torch.func.grad(lambda y: (y**3).sum()), (x,), (x,))
    with forward_ad.dual_level():
        F.log_softmax(F.normalize(forward_ad.make_dual(x, x)), dim=1)
    return len(set(sys.modules) - before)
"""
    order = marking._order(corpus.notebook(source), "", "imported", ["imported"])
    with box.worker(QUICK) as worker:
        worker.load(order)
        assert worker.call("imported", (torch.ones(2, 2),), []) == 0


def test_the_librarys_functions_of_earlier_lessons_can_be_used(tmp_path, box):
    answer = (
        "import mmlite\n"
        "def my_barlow_twins(z1, z2, off_diagonal):\n"
        "    mmlite.nt_xent(z1, z2)\n"
        "    C = mmlite.cross_correlation(z1, z2)\n"
        "    return C.sum()"
    )
    run_class(make(tmp_path, {"a_02.ipynb": corpus.notebook(answer)}), tmp_path / "out", box)
    record = json.loads((tmp_path / "out" / "grades.json").read_text())
    mark = record["students"]["a"]["submissions"][0]["marks"][2]
    assert "mmlite.redundancy.cross_correlation is what exercise 02.1 asks" in mark["message"]
