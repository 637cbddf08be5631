"""What a notebook calls: `check`, `progress`, `reveal`, and a master's hidden tests `grade`."""

from collections.abc import Callable
from typing import Any

from mmlite.course.progress import Attempts, ProgressError, attempts, record
from mmlite.exercises.attempt import newest_did_not_run, showing_once
from mmlite.exercises.catalog import all_exercises, find
from mmlite.exercises.exercise import Exercise
from mmlite.exercises.judge import judge
from mmlite.support import devices
from mmlite.support.shell import sign

GOES_ON = "the lesson goes on with the course's own function"


class AnswerError(AssertionError):
    """Raised by `grade` for an answer that is not right."""


def check(exercise_id: str, function: Callable[..., Any], seed: int | None = None):
    """Judge an answer, print the verdict in a line, and return the function to go on with.

    The inputs lie on `mmlite.device()`, where the lesson will use the answer. In a notebook the
    verdict is kept for `progress`.

    Args:
        exercise_id: as "01.3".
        function: the answer. What it prints is shown once, though it is called several times.
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
    if stopped := newest_did_not_run(exercise.function, function):
        print(
            f"{sign('✗')} exercise {exercise.id}: the newest cell that defines "
            f"{exercise.function} did not run: {stopped}"
        )
        print(f"  Nothing was judged, and {GOES_ON}; mend that cell and run both again.")
        return exercise.reference
    shown = showing_once(function) if callable(function) else function
    verdict = judge(exercise, shown, seed=seed, device=devices.device())
    if verdict.status == "not started":
        print(f"○ exercise {exercise.id} not started; {GOES_ON}")
        return exercise.reference
    passed = verdict.status == "passed"
    if passed:
        print(f"{sign('✓')} exercise {exercise.id} passed: {exercise.title}")
    else:
        print(f"{sign('✗')} exercise {exercise.id}: {verdict.message}")
        print(f"  {GOES_ON.capitalize()}; mend your answer and run this again.")
    try:
        record(exercise.id, passed)
    except ProgressError as error:
        print(f"  (Your progress is not kept: {error}.)")
    return function if passed else exercise.reference


def grade(exercise_id: str, function: Callable[..., Any]) -> None:
    """Judge an answer on hidden cases too; for the hidden tests of a master notebook.

    Raises:
        AnswerError: the answer is missing or wrong; the message says how.
    """
    verdict = judge(find(exercise_id), function, hidden=True)
    if verdict.status != "passed":
        raise AnswerError(f"exercise {exercise_id} {verdict.status}: {verdict.message}")


def progress(lesson: str) -> None:
    """Print which exercises of a lesson are passed, and when.

    Args:
        lesson: its number, as "01".

    Raises:
        ValueError: there is no such lesson.

    Example:
        >>> mmlite.progress("01")
        Lesson 01: ... of 8 exercises passed
        ...
    """
    exercises_of(lesson)  # is there such a lesson?
    known: dict[str, Attempts] = {}
    try:
        known = attempts()
    except ProgressError as error:
        print(f"(What you passed before is not known: {error}.)")
    print(report(lesson, known))


def report(lesson: str, known: dict[str, Attempts]) -> str:
    """Return in lines how far somebody is with each exercise of a lesson.

    Raises:
        ValueError: there is no such lesson.
    """
    exercises = exercises_of(lesson)
    tried = [known.get(exercise.id, Attempts()) for exercise in exercises]
    passed = sum(one.passed is not None for one in tried)
    lines = [f"Lesson {lesson}: {passed} of {len(exercises)} exercises passed"]
    for exercise, one in zip(exercises, tried, strict=True):
        lines.append(f"  {exercise.id} {exercise.title}: {_told(one)}")
    return "\n".join(lines)


def exercises_of(lesson: str) -> list[Exercise]:
    """Return a lesson's exercises.

    Raises:
        ValueError: there is no such lesson.
    """
    exercises = all_exercises().values()
    found = [exercise for exercise in exercises if exercise.id.startswith(f"{lesson}.")]
    if not found:
        known = sorted({exercise.id[:2] for exercise in exercises})
        raise ValueError(f"there is no lesson {lesson!r}; the lessons are: {', '.join(known)}")
    return found


def reveal(exercise_id: str) -> None:
    """Show the course's own answer to an exercise, once you have had an answer of your own judged.

    Args:
        exercise_id: as "01.3".

    Raises:
        ValueError: there is no such exercise.

    Example:
        >>> mmlite.reveal("01.4")
        Try it first: ...
    """
    exercise = find(exercise_id)
    try:
        from mmlite.exercises.solution import show
    except ModuleNotFoundError:
        print("This copy of the course has no solutions to show; ask who gave it to you.")
        return
    try:
        tries = attempts().get(exercise.id, Attempts()).tries
    except ProgressError as error:
        print(f"What you have tried is not known: {error}.")
        return
    if tries:
        show(exercise)
    else:
        print(
            f"Try it first: the solution of exercise {exercise.id} is shown once check has judged "
            "an answer of yours, right or wrong."
        )


def _told(one: Attempts) -> str:
    if one.passed is not None:
        return f"passed {one.passed}".strip()
    return f"tried {one.tries} {'time' if one.tries == 1 else 'times'}" if one.tries else "open"
