"""The course's own answer to an exercise, and what goes wrong. A release may leave this out."""

import inspect
import textwrap

from mmlite.exercises.exercise import Exercise
from mmlite.support.shell import in_notebook


def show(exercise: Exercise) -> None:
    """Show the solution, in a notebook with its colors."""
    text = solution(exercise)
    if in_notebook():
        from IPython.display import Markdown, display

        display(Markdown(text))
    else:
        print(text)


def solution(exercise: Exercise) -> str:
    """Return the reference, where it is from, and the known mistakes, as Markdown."""
    source = textwrap.dedent(inspect.getsource(exercise.reference)).strip()
    mistakes = "\n".join(f"- *{one.name}*: {one.sentence}" for one in exercise.mistakes)
    return (
        f"**Exercise {exercise.id}, {exercise.title}.** The course's own answer is "
        f"`{exercise.home}`:\n\n```python\n{source}\n```\n\n"
        f"What goes wrong most often:\n\n{mistakes}"
    )
