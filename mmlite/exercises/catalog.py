"""The exercises of the course by their ids, and what notebooks call: `check` and `grade`."""

import importlib
from collections.abc import Callable
from typing import Any

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.judge import judge
from mmlite.support import devices

LESSONS = ("01", "02", "03", "04", "06", "07")


class AnswerError(AssertionError):
    """Raised by `grade` for an answer that is not right."""


def check(exercise_id: str, function: Callable[..., Any], seed: int | None = None):
    """Judge an answer, print the verdict in a line, and return the function to go on with.

    The inputs lie on `mmlite.device()`, where the lesson will use the answer.

    Args:
        exercise_id: as "01.3".
        function: the answer.
        seed: repeats the inputs of an earlier check; fresh ones by default.

    Returns:
        `function` if it is right, else the course's own, so that the lesson goes on.

    Raises:
        ValueError: there is no such exercise.

    Example:
        >>> def my_cosine_similarity(a, b):
        ...     raise NotImplementedError
        >>> cosine_similarity = mmlite.check("01.1", my_cosine_similarity)
        ○ exercise 01.1 not started; the lesson goes on with ...
    """
    exercise = find(exercise_id)
    verdict = judge(exercise, function, seed=seed, device=devices.device())
    if verdict.status == "passed":
        print(f"✓ exercise {exercise.id} passed: {exercise.title}")
        return function
    if verdict.status == "not started":
        print(f"○ exercise {exercise.id} not started; the lesson goes on with {exercise.home}")
    else:
        print(f"✗ exercise {exercise.id}: {verdict.message}")
        print(f"  The lesson goes on with {exercise.home}; mend your answer and run this again.")
    return exercise.reference


def grade(exercise_id: str, function: Callable[..., Any]) -> None:
    """Judge an answer on hidden cases too; for the hidden tests of a master notebook.

    Raises:
        AnswerError: the answer is missing or wrong; the message says how.
    """
    verdict = judge(find(exercise_id), function, hidden=True)
    if verdict.status != "passed":
        raise AnswerError(f"exercise {exercise_id} {verdict.status}: {verdict.message}")


def find(exercise_id: str) -> Exercise:
    """Return the exercise of that id.

    Raises:
        ValueError: there is no such exercise.
    """
    known = all_exercises()
    if exercise_id not in known:
        raise ValueError(
            f"there is no exercise {exercise_id!r}; the exercises are: {', '.join(known)}"
        )
    return known[exercise_id]


def all_exercises() -> dict[str, Exercise]:
    """Return every exercise of the course by its id, in order."""
    lessons = [importlib.import_module(f"mmlite.exercises.lesson{number}") for number in LESSONS]
    return {exercise.id: exercise for lesson in lessons for exercise in lesson.EXERCISES}
