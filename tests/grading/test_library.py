"""What of the library an answer may use."""

import itertools
import re

import pytest
from classes import EXERCISES, ROOT
from imports import imported

from mmlite.grading.host import library

LESSONS = sorted({exercise.id[:2] for exercise in EXERCISES})


def modules() -> set[str]:
    """Return the names of all modules of the library, without `mmlite.`."""
    paths = (ROOT / "mmlite").rglob("*.py")
    parts = [path.relative_to(ROOT / "mmlite").with_suffix("").parts for path in paths]
    return {".".join(part for part in names if part != "__init__") for names in parts}


MODULES = modules()


def modules_imported(source: str) -> set[str]:
    """Return the modules of the library that a source names in its imports, at any depth."""
    return {
        name if name.removeprefix("mmlite.") in MODULES else name.rpartition(".")[0] or name
        for name in imported(source)
    }


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_reference_is_sent_to_the_sandbox(lesson):
    sources = "\n".join(library.library(lesson).values())
    sentences = library.withheld(lesson)
    for exercise in EXERCISES:
        name = exercise.reference.__name__
        if exercise.id[:2] >= lesson:
            assert not re.search(rf"^def {name}\b", sources, re.MULTILINE), name
            assert sentences[exercise.home.rpartition(".")[2]].endswith("asks you to write")
    assert "Mistake(" not in sources


@pytest.mark.parametrize("lesson", LESSONS)
def test_what_is_sent_imports_only_what_is_sent(lesson):
    sent = library.library(lesson)
    for name, source in sent.items():
        assert modules_imported(source) <= sent.keys(), name


def test_every_module_is_sent_at_some_time_or_never():
    """A file that is moved or new cannot disappear from what answers may import without a word."""
    never = {
        name
        for name in MODULES
        if any(name == away or name.startswith(f"{away}.") for away in library.NEVER)
    }
    assert MODULES - never == set(library.FROM)
    assert not never & set(library.FROM)
    assert {name for name in library.NEVER if name not in MODULES} == set()


def test_no_later_lesson_gets_less():
    sent = [set(library.library(lesson)) for lesson in LESSONS]
    assert all(before <= after for before, after in itertools.pairwise(sent))
    assert "mmlite.contrastive" not in sent[0]
    assert "mmlite.contrastive" in sent[1]
    assert "mmlite.redundancy" not in sent[1]
    assert "mmlite.redundancy" in sent[2]
    assert "mmlite.metamask.gradient" in sent[-1]
