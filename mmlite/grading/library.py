"""What of `mmlite` an answer may use while its lesson is marked.

All of it would hold the references. So a lesson gets the sources of the modules that hold none of
its own or of a later lesson, and a stand-in for each of the others. In lesson 02, say, `nt_xent` is
there and `cross_correlation` says that it is what exercise 02.1 asks for.
"""

import re
from pathlib import Path

from mmlite.exercises import all_exercises

PACKAGE = Path(__file__).resolve().parents[1]
# beside the modules that hold references: the course's machinery, and what would show an answer
NEVER = {"exercises", "grading", "classroom", "handout", "release", "cli", "datasets", "plots"}
# `vote` is what exercise 01.2 asks for; `convolution_cost` and `ring_seconds` answer 07.1 and 07.7
ANSWERS = {"evaluation": "01", "costs": "07"}


def library(lesson: str) -> dict[str, str]:
    """Return the sources that answers of a lesson ("01") may import, by module name."""
    away = _withheld_modules(lesson)
    modules = {path.stem: path.read_text(encoding="utf-8") for path in PACKAGE.glob("[a-z]*.py")}
    there = {f"mmlite.{name}": text for name, text in modules.items() if name not in away}
    return {"mmlite": (PACKAGE / "__init__.py").read_text(encoding="utf-8"), **there}


def withheld(lesson: str) -> dict[str, str]:
    """Return for each name that this or a later lesson asks for the sentence that says so."""
    return {
        exercise.home.rpartition(".")[2]: (
            f"{exercise.home} is what exercise {exercise.id} asks you to write"
        )
        for exercise in all_exercises().values()
        if exercise.id[:2] >= lesson
    }


def _withheld_modules(lesson: str) -> set[str]:
    references = {
        exercise.reference.__module__.removeprefix("mmlite.").partition(".")[0]
        for exercise in all_exercises().values()
        if exercise.id[:2] >= lesson
    }
    away = NEVER | references | {name for name, first in ANSWERS.items() if lesson <= first}
    texts = {path.stem: path.read_text(encoding="utf-8") for path in PACKAGE.glob("[a-z]*.py")}
    while True:  # and whatever imports one of them
        more = {
            name
            for name, text in texts.items()
            if set(re.findall(r"^from mmlite\.(\w+)", text, re.MULTILINE)) & away
        }
        if more <= away:
            return away
        away |= more
