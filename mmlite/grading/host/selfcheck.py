"""Does the grader mark rightly here? Known answers have to earn what they are worth."""

import json
from pathlib import Path
from typing import Any

from mmlite.course.notebooks import LessonError
from mmlite.grading.host.marking import mark
from mmlite.grading.host.remote import Settings

SETTINGS = Settings(timeout=60)
SETUP = "import torch\nfrom torch.nn import functional as F"
RIGHT = "def my_cosine_similarity(a, b):\n    return F.normalize(a) @ F.normalize(b).T"
WRONG = "def my_cosine_similarity(a, b):\n    return a @ b.T"
POINTS = {RIGHT: True, WRONG: False}  # of exercise 01.1


def known_answers(sandbox: Any) -> None:
    """Mark a right answer and a wrong one.

    Raises:
        LessonError: the right one does not pass or the wrong one does.
    """
    for source, right in POINTS.items():
        cells = [{"cell_type": "code", "source": text} for text in (SETUP, source)]
        marked = mark(json.dumps({"cells": cells}).encode(), "01", sandbox, SETTINGS, seed=0)
        first = marked.marks[0]
        if (first.status == "passed") is not right:
            kind = "right" if right else "wrong"
            raise LessonError(
                f"the grader does not mark rightly here: a {kind} answer to exercise 01.1 was said "
                f"to be {first.status} ({first.message}); nothing was marked"
            )


def masters(sandbox: Any, paths: list[Path]) -> list[str]:
    """Mark the course's own masters; return for each that loses points which and why.

    Args:
        sandbox: a `Sandbox` or a `Container`.
        paths: of masters, each named by its lesson's number.
    """
    faults = []
    for path in paths:
        marked = mark(path.read_bytes(), path.name[:2], sandbox, SETTINGS, seed=0)
        faults += [
            f"{path.name}, exercise {one.exercise}: {one.points} of {one.of} points ({one.message})"
            for one in marked.marks
            if one.points < one.of
        ]
    return faults
