"""The exercises of the course by their ids."""

import importlib

from mmlite.exercises.exercise import Exercise

LESSONS = ("01", "02", "03", "04", "05", "06", "07")


def find(exercise_id: str) -> Exercise:
    """Return the exercise of that id.

    Raises:
        ValueError: there is no such exercise.
    """
    known = all_exercises()
    if not isinstance(exercise_id, str) or exercise_id not in known:
        raise ValueError(
            f"there is no exercise {exercise_id!r}; the exercises are: {', '.join(known)}"
        )
    return known[exercise_id]


def all_exercises() -> dict[str, Exercise]:
    """Return every exercise of the course by its id, in order."""
    lessons = [importlib.import_module(f"mmlite.exercises.lesson{number}") for number in LESSONS]
    return {exercise.id: exercise for lesson in lessons for exercise in lesson.EXERCISES}
