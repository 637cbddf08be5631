"""What a submission's answers are worth: `judge`, with the student's function at a distance.

Each exercise gets a process of its own, which knows one notebook and one function; so a loop
without end costs one exercise and not six, and nothing learned from one can be told in another. The
verdicts are those of `mmlite.exercises.judge`, in this process, on inputs drawn for the class.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from torch import Generator, Tensor

from mmlite.exercises import Exercise, Verdict, all_exercises, judge
from mmlite.exercises.judge import OURS
from mmlite.grading.host.derivative import vector_jacobian
from mmlite.grading.host.library import library, withheld
from mmlite.grading.host.remote import Settings, Worker, WorkerError, clean
from mmlite.grading.host.sandbox import Sandbox

ROUNDS = 2  # of all cases, on fresh inputs: what is right by luck once is not right again
NO_NOTEBOOK = "not a notebook"
# what a question about an earlier exercise may hold: the references are quick below that, those
# too that compare each row with each other
ASK, ASK_ROWS = 8192, 512


@dataclass(frozen=True)
class Mark:
    """What one exercise is worth.

    Attributes:
        exercise: its id, as "01.3".
        points, of: earned, and to be had.
        status: "passed", "not started", "wrong" or "missing".
        message: a sentence for the student; of a hidden test it tells neither inputs nor results.
        mistake: the name of the recognized mistake, or None.
        tests: of each test by name whether it passed; those after the first failure have none.
        alike: a digest of the answer that renaming and layout do not change.
        size: of the answer, in nodes of its syntax.
    """

    exercise: str
    points: int
    of: int
    status: str
    message: str
    mistake: str | None = None
    tests: dict[str, bool] = field(default_factory=dict)
    alike: str = ""
    size: int = 0


@dataclass(frozen=True)
class Marked:
    """A marked notebook: its marks, remarks on its cells, and why it has none, if so."""

    marks: list[Mark]
    notes: list[str]
    fault: str | None = None

    @classmethod
    def nothing(cls, exercises: list[Exercise], fault: str) -> "Marked":
        """Return no marks for some exercises, because of a fault."""
        return cls([_mark(exercise, "missing", fault) for exercise in exercises], [], fault)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self)


def exercises_of(lesson: str) -> list[Exercise]:
    """Return a lesson's exercises in order."""
    return [exercise for id_, exercise in all_exercises().items() if id_[:2] == lesson]


def lessons_in(data: bytes, sandbox: Sandbox, settings: Settings) -> tuple[list[str], str | None]:
    """Return the lessons of whose functions a notebook defines one, for want of a telling name.

    Beside them stands why the notebook cannot be read, if so.
    """
    exercises = all_exercises().values()
    order = _order(data, "", "", [exercise.function for exercise in exercises])
    try:
        with sandbox.worker(settings) as worker:
            reply = worker.load(order)
    except WorkerError as error:
        return [], f"the notebook cannot be read: {_told(error)}"
    names = _strings(reply.get("defined"))
    lessons = sorted({exercise.id[:2] for exercise in exercises if exercise.function in names})
    fault = " ".join(_strings(reply.get("notes"))) if reply["status"] == NO_NOTEBOOK else None
    return lessons, fault


def mark(
    data: bytes,
    lesson: str,
    sandbox: Sandbox,
    settings: Settings,
    seed: int,
) -> Marked:
    """Mark a notebook for a lesson.

    Args:
        data: the notebook, any bytes.
        lesson: as "01".
        sandbox: where its code runs.
        settings: what it may use.
        seed: draws the inputs; the same for a class is fair.
    """
    marks: list[Mark] = []
    notes: list[str] = []
    wanted = [exercise.function for exercise in exercises_of(lesson)]
    for exercise in exercises_of(lesson):
        own = [earlier.exercise for earlier in marks if earlier.status == "passed"]
        own.append(exercise.id)  # for who binds what `check` returns to the answer's own name
        with sandbox.worker(settings, partial(_oracle, exercise)) as worker:
            order = _order(data, lesson, exercise.function, wanted, own)
            one, said = _mark_one(exercise, worker, order, own, seed)
        marks.append(one)
        notes += [note for note in said if note not in notes]
        if one.status == NO_NOTEBOOK:
            return Marked.nothing(exercises_of(lesson), one.message)
    return Marked(marks, notes)


def _order(
    data: bytes, lesson: str, function: str, wanted: list[str], own: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "notebook": data,
        "library": library(lesson) if lesson else {},
        "withheld": withheld(lesson) if lesson else {},
        "function": function,
        "wanted": wanted,
        "own": list(own),
    }


def _mark_one(
    exercise: Exercise, worker: Worker, order: dict[str, Any], own: list[str], seed: int
) -> tuple[Mark, list[str]]:
    """Return the mark of one exercise, and remarks on the notebook."""
    try:
        reply = worker.load(order)
    except WorkerError as error:
        return _mark(exercise, "wrong", f"it could not be loaded: {_told(error)}"), []
    notes = _strings(reply.get("notes"))[:20]
    status = reply["status"]
    if status == NO_NOTEBOOK:
        return _mark(exercise, status, " ".join(notes)), []
    if status == "undefined":
        sentence = f"the notebook defines no {exercise.function}; was its cell deleted or renamed?"
        return _mark(exercise, "missing", sentence), notes
    if status == "broken":
        sentence = (
            f"{exercise.function} could not be defined: {'; '.join(notes) or 'no reason told'}"
        )
        return _mark(exercise, "wrong", sentence), notes
    judged = _judge(exercise, lambda *given: worker.call(exercise.function, given, own), seed)
    return replace(judged, **_likeness(reply.get("alike"))), notes


def _likeness(said: Any) -> dict[str, Any]:
    """Return what a worker says of an answer's likeness, if it is such."""
    match said:
        case (str(digest), int(size)):
            return {"alike": clean(digest, 16), "size": size}
    return {}


def _strings(value: Any) -> list[str]:
    """Return what a worker says is a list of sentences or names."""
    return [clean(str(item)) for item in value[:200]] if isinstance(value, list) else []


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _mark(
    exercise: Exercise, status: str, message: str, mistake: str | None = None, **more
) -> Mark:
    earned = exercise.points if status == "passed" else 0
    return Mark(exercise.id, earned, exercise.points, status, message, mistake, **more)


def _judge(exercise: Exercise, answer: Callable[..., Any], seed: int) -> Mark:
    """Judge an answer on the instant check's cases and on each hidden case, in every round."""
    tests: dict[str, bool] = {}
    cases = {"instant check": replace(exercise, hidden_sizes=())}
    for number, size in enumerate(exercise.hidden_sizes, start=1):
        cases[f"hidden test {number}"] = replace(exercise, sizes=(size,), hidden_sizes=())
    for turn in range(ROUNDS):
        for name, case in cases.items():
            verdict = judge(case, answer, seed=seed + turn)
            tests[name] = verdict.status == "passed"
            if not tests[name]:
                said = verdict if name == "instant check" else _of_hidden(exercise, answer, seed)
                return _mark(exercise, said.status, said.message, said.mistake, tests=tests)
    return _mark(exercise, "passed", "right", tests=tests)


def _of_hidden(exercise: Exercise, answer: Callable[..., Any], seed: int) -> Verdict:
    """Return what may be told of an answer that fails hidden cases: a known mistake or little."""
    whole = judge(exercise, answer, hidden=True, seed=seed)
    if whole.mistake is not None:
        return whole
    return Verdict(
        "wrong",
        "right in the instant check, but not for inputs of other sizes or values: what does your "
        "answer take for granted?",
    )


def _oracle(
    exercise: Exercise, asked: str, given: Any, named: Any, order: Any = 0, cotangents: Any = ()
) -> Any:
    """Answer an earlier exercise, or a derivative of it, for an answer that builds on it."""
    earlier = all_exercises().get(asked)
    if earlier is None or earlier.id >= exercise.id:
        raise ValueError(f"exercise {clean(asked, 20)} does not come before {exercise.id}")
    if not all(isinstance(one, tuple) for one in (given, cotangents)) or type(named) is not dict:
        raise ValueError("a question is made of arguments")
    if _extent((*given, *named.values(), *cotangents)) > ASK:
        raise ValueError(f"exercise {asked} may be asked about {ASK:,} numbers at a time")
    with OURS:
        if order == 0:
            return earlier.reference(*given, **named)
        return vector_jacobian(earlier.reference, given, named, order, cotangents)


def _extent(given: tuple) -> float:
    """Return how many numbers a question holds, or might make: a label of 10⁷ is a class of many.

    Raises:
        ValueError: it holds what no exercise is asked about.
    """
    total: float = 0
    for value in given:
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, Tensor):
            total += max(value.numel(), *value.shape)
            if max(value.shape, default=0) > ASK_ROWS:
                raise ValueError(f"an exercise is asked about at most {ASK_ROWS} rows at a time")
            if value.numel() and not value.is_floating_point() and not value.is_complex():
                total += max(abs(int(value.min())), abs(int(value.max())))
        elif isinstance(value, (int, float)):
            total += abs(value) if math.isfinite(value) else 1
        elif isinstance(value, Generator):
            total += 1
        else:
            raise ValueError("an exercise is asked about tensors and numbers")
    return total
