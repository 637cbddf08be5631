"""What an exercise is: a declaration, with the mistakes that people make beside their sentences.

exercise = Exercise(id="01.1", title="cosine similarity of all pairs", ...)


@exercise.mistake("no normalization", "this is the dot product: divide each row by its length.")
def _dot_product(a, b):
return a @ b.T
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Generator, Tensor

Case = tuple[Any, ...]
Answer = TypeVar("Answer", bound=Callable[..., Any])


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer: its name, an implementation, and the sentence that helps."""

    name: str
    function: Callable[..., Any]
    sentence: str


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        id: lesson and place, as "01.3".
        title: what it is about.
        points: what it counts.
        minutes: how long it should take.
        difficulty: 1 (a line) to 5 (an evening).
        function: the name of the function to write.
        reference: a right answer; the lesson goes on with it while the exercise is open.
        home: where a reader finds the reference, as a dotted name.
        draw: draw(generator, size) returns the arguments of one case: tensors, numbers and
            generators, or tuples of them, for these travel to the process of a student's answer.
        sizes: the cases of the instant check, smallest first.
        hidden_sizes: further cases that only grading uses.
        tolerance: greatest absolute and relative difference from the reference.
        why_tolerance: the reason for it.
        observe: observe(function, *arguments) makes a tensor to compare out of an answer; by
            default what the function returns. Exercises with random results look at properties.
        explain: explain(observed) says what is wrong with an observation that is not the
            reference's, or None; by default expected and got are shown.
        mistakes: the known wrong answers, in the order in which they are tried.
    """

    id: str
    title: str
    points: int
    minutes: int
    difficulty: int
    function: str
    reference: Callable[..., Any]
    home: str
    draw: Callable[[Generator, int], Case]
    sizes: tuple[int, ...]
    hidden_sizes: tuple[int, ...]
    tolerance: float
    why_tolerance: str
    observe: Callable[..., Any] = lambda function, *arguments: function(*arguments)
    explain: Callable[[Tensor], str | None] | None = None
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, name: str, sentence: str) -> Callable[[Answer], Answer]:
        """Return a decorator that makes a function one of the known wrong answers.

        Args:
            name: of the mistake, in a word or two.
            sentence: what helps who made it.
        """

        def add(function: Answer) -> Answer:
            self.mistakes.append(Mistake(name, function, sentence))
            return function

        return add
