"""What of the library an answer may use."""

import re

import pytest
from classes import EXERCISES

from mmlite.grading import library


@pytest.mark.parametrize("lesson", sorted({exercise.id[:2] for exercise in EXERCISES}))
def test_no_reference_is_sent_to_the_sandbox(lesson):
    sources = "\n".join(library.library(lesson).values())
    sentences = library.withheld(lesson)
    for exercise in EXERCISES:
        name = exercise.reference.__name__
        if exercise.id[:2] >= lesson:
            assert not re.search(rf"^def {name}\b", sources, re.MULTILINE), name
            assert sentences[exercise.home.rpartition(".")[2]].endswith("asks you to write")
    assert "Mistake(" not in sources


def test_earlier_lessons_functions_are_there():
    assert "mmlite.contrastive" in library.library("02")
    assert "mmlite.redundancy" not in library.library("02")
    assert "mmlite.redundancy" in library.library("03")
