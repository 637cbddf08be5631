"""The exercises: what each asks, how an answer is judged, and what a notebook calls.

`exercise` says what an exercise is, `judge` judges an answer, `catalog` finds exercises by their
ids and holds `check`, which a notebook calls. `lesson01` and the others have a file an exercise.
"""

from typing import TYPE_CHECKING

from mmlite.exercises.catalog import AnswerError, all_exercises, check, find, grade
from mmlite.exercises.exercise import Exercise, Mistake
from mmlite.exercises.judge import Verdict, judge
from mmlite.support.lazy import submodules

if not TYPE_CHECKING:  # a checker would take every misspelt name for a module
    __getattr__ = submodules(__name__)

__all__ = [
    "AnswerError",
    "Exercise",
    "Mistake",
    "Verdict",
    "all_exercises",
    "check",
    "find",
    "grade",
    "judge",
]
