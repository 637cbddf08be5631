"""The exercises: what each asks, how an answer is judged, and what a notebook calls.

`exercise` says what an exercise is, `judge` judges an answer, `catalog` finds exercises by their
ids, and `notebook` holds what a notebook calls. `lesson01` and the others have a file an exercise.
"""

from typing import TYPE_CHECKING

from mmlite.exercises.catalog import all_exercises, find
from mmlite.exercises.exercise import Exercise, Mistake
from mmlite.exercises.judge import Verdict, judge
from mmlite.exercises.notebook import AnswerError, check, grade, progress, reveal
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
    "progress",
    "reveal",
]
