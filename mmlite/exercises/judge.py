"""How an answer is judged: against the reference, on fresh random inputs, the smallest first.

Where it differs it is compared with each known mistake, so that the verdict can name it.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from mmlite.exercises.attempt import raised_at
from mmlite.exercises.exercise import Case, Exercise, Mistake
from mmlite.support.errors import first_line

STUB = "{} is yours to write"  # what the stubs of `mmlite.course.build` say
# The grader judges in threads, and forward mode is one to a process: so one thread at a time runs
# what is ours. Nobody waits for a student's process meanwhile.
OURS = threading.RLock()


@dataclass(frozen=True)
class Verdict:
    """How an answer was judged.

    Attributes:
        status: "passed", "not started" or "wrong".
        message: a sentence for the author of the answer.
        mistake: the name of the recognized mistake, or None.
    """

    status: str
    message: str
    mistake: str | None = None


def judge(
    exercise: Exercise,
    function: Callable[..., Any],
    *,
    hidden: bool = False,
    seed: int | None = None,
    device: torch.device | str = "cpu",
) -> Verdict:
    """Compare an answer with the reference on random cases, the smallest first.

    Args:
        exercise: what was asked.
        function: the answer. It gets copies of the inputs; the global random state is restored.
        hidden: use the hidden cases too.
        seed: seeds the cases; by default a fresh one.
        device: where the inputs lie.
    """
    if not callable(function):
        return Verdict("wrong", f"{exercise.function} is not a function but {_kind(function)}")
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    generator = Generator().manual_seed(seed)
    sizes = exercise.sizes + (exercise.hidden_sizes if hidden else ())
    cases = [_to(exercise.draw(generator, size), device) for size in sizes]
    with torch.random.fork_rng(devices=[]):
        for case in cases:
            verdict = _judge_case(exercise, function, case)
            if verdict is not None:
                break
        else:
            return Verdict("passed", "right")
        if verdict.status == "wrong":
            # two mistakes can agree on the few small cases of the instant check
            more = () if hidden else exercise.hidden_sizes
            cases += [_to(exercise.draw(generator, size), device) for size in more]
            recognized = _recognize(exercise, function, cases)
            if recognized is not None:
                return Verdict("wrong", recognized.sentence, recognized.name)
    return verdict


def _judge_case(exercise: Exercise, function: Callable[..., Any], case: Case) -> Verdict | None:
    """Return what is wrong with an answer on one case, or None."""
    given = _copy(case)
    try:
        got = exercise.observe(function, *given)
    # whatever a student's code may raise is the answer's fault, and is told in a sentence
    except Exception as error:
        if _is_the_stubs(error, exercise):
            return Verdict("not started", f"{exercise.function} is still the stub")
        detail = first_line(error) if str(error).strip() else "no detail"
        return Verdict(
            "wrong",
            f"{exercise.function} raised {type(error).__name__}: {detail} (for {_describe(case)}"
            f"{raised_at(error, function)})",
        )
    if not _same(_copy(case), given):
        return Verdict("wrong", f"{exercise.function} changed its inputs; work on a copy")
    expected = _observe(exercise, exercise.reference, case)
    fault = _difference(expected, got, exercise.tolerance)
    if fault is None:
        return None
    if exercise.explain is not None and isinstance(got, Tensor):
        fault = exercise.explain(got) or fault
    return Verdict("wrong", f"{fault} (for {_describe(case)})")


def _observe(exercise: Exercise, function: Callable[..., Any], case: Case) -> Any:
    """Return what is compared of a function of ours, a reference or a mistake."""
    with OURS:
        return exercise.observe(function, *_copy(case))


def _is_the_stubs(error: Exception, exercise: Exercise) -> bool:
    """Return if an error is a stub's: ours, or nbgrader's, which has no text; torch's has one."""
    stubs = ("", STUB.format(exercise.function))
    return isinstance(error, NotImplementedError) and str(error) in stubs


def _recognize(exercise: Exercise, function, cases: list[Case]) -> Mistake | None:
    """Return the mistake whose results are the answer's on every case."""
    try:
        answers = [exercise.observe(function, *_copy(case)) for case in cases]
    except Exception:  # it fails on some inputs, which no known mistake does
        return None
    for mistake in exercise.mistakes:
        results = [_observe(exercise, mistake.function, case) for case in cases]
        pairs = zip(results, answers, strict=True)
        if all(_difference(r, a, exercise.tolerance) is None for r, a in pairs):
            return mistake
    return None


def _difference(expected: Any, got: Any, tolerance: float) -> str | None:
    """Return in a sentence how two results differ, or None if they agree."""
    if got is None:
        return "it returned None; is the return statement missing?"
    wanted = torch.as_tensor(expected)
    if isinstance(got, (np.generic, np.ndarray)) and got.ndim == 0 and got.dtype.kind in "iuf":
        got = float(got) if got.dtype.kind == "f" else int(got)
    if isinstance(got, bool) or not isinstance(got, (Tensor, int, float)):
        return f"expected {_kind(expected)}, got {_kind(got)}"
    if isinstance(got, int) and abs(got) >= 2**63:
        return "the result is a whole number of more than 63 bits"
    found = torch.as_tensor(got).detach()
    if found.is_meta:
        return "the result lies on the meta device, where tensors have no numbers"
    if found.shape != wanted.shape:
        return f"expected a result of shape {list(wanted.shape)}, got {list(found.shape)}"
    if found.is_complex() or (not wanted.is_floating_point() and found.is_floating_point()):
        return f"expected a result of type {wanted.dtype}, got {found.dtype}"
    wanted, found = wanted.double().cpu(), found.double().cpu()
    # a known mistake may have NaN where the answer has it, the reference has none
    if bool(wanted.isfinite().all()) and not bool(found.isfinite().all()):
        return "the result holds NaN or infinities"
    if torch.allclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True):
        return None
    if wanted.dim() == 0:
        return f"expected {float(wanted):.6g}, got {float(found):.6g}"
    worst = (found - wanted).abs().argmax()
    index = tuple(int(i) for i in torch.unravel_index(worst, wanted.shape))
    place = ", ".join(str(i) for i in index)
    return f"at [{place}] expected {float(wanted[index]):.6g}, got {float(found[index]):.6g}"


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return f"a {type(value).__name__}"


def _describe(case: Case) -> str:
    def one(value: Any) -> str:
        if isinstance(value, tuple):
            return f"({', '.join(one(part) for part in value)})"
        return f"a {list(value.shape)} tensor" if isinstance(value, Tensor) else f"{value!r}"

    return "inputs " + ", ".join(one(value) for value in case if not isinstance(value, Generator))


def _each(change: Callable[[Tensor], Tensor], case: Case) -> Case:
    """Return a case with its tensors changed, those within tuples too."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(one(part) for part in value)
        return change(value) if isinstance(value, Tensor) else value

    return one(case)


def _to(case: Case, device: torch.device | str) -> Case:
    return _each(lambda tensor: tensor.to(device), case)


def _copy(case: Case) -> Case:
    return _each(Tensor.clone, case)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    return not isinstance(a, Tensor) or torch.equal(a, b)
