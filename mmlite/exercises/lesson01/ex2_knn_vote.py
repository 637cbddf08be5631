"""Exercise 01.2: the neighbors' vote."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def knn_vote(similarity: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Return the class [M] that each query's k neighbors vote for, with weight exp(s / τ)."""
    return _weighted_vote(torch.exp(similarity / temperature), labels, classes)


def _weighted_vote(weight: Tensor, labels: Tensor, classes: int) -> Tensor:
    votes = weight.new_zeros(len(labels), classes).scatter_add_(1, labels, weight)
    return votes.argmax(1)


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, int, float]:
    # Few classes and unequal similarities, so that counting, weighing and taking the nearest
    # one often disagree; 200 queries make it certain.
    similarity = torch.rand(200, size, generator=generator).sort(1, descending=True).values
    labels = torch.randint(0, 4, (200, size), generator=generator)
    return similarity, labels, 4, 0.25


exercise = Exercise(
    id="01.2",
    title="the neighbors' vote",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_knn_vote",
    reference=knn_vote,
    home="mmlite.exercises.lesson01.knn_vote",
    draw=draw,
    sizes=(5, 20),
    hidden_sizes=(3, 50),
    tolerance=0,
    why_tolerance="classes are whole numbers, and random weights do not tie",
)


@exercise.mistake(
    "votes counted", "every neighbor has the same vote here: weigh each by exp(similarity / τ)."
)
def _count_only(similarity, labels, classes, temperature):
    return _weighted_vote(torch.ones_like(similarity), labels, classes)


@exercise.mistake("nearest only", "only the nearest neighbor decides here: let all k vote.")
def _nearest_only(similarity, labels, classes, temperature):
    return labels.gather(1, similarity.argmax(1, keepdim=True))[:, 0]


@exercise.mistake(
    "raw similarity",
    "the votes are weighed by the similarity itself: the weight is exp(similarity / τ).",
)
def _raw_similarity(similarity, labels, classes, temperature):
    return _weighted_vote(similarity, labels, classes)


@exercise.mistake(
    "mean label",
    "the labels were averaged, but they are names, not quantities: class 2 does not "
    "lie between 1 and 3. Add up the votes for each class and take the greatest.",
)
def _mean_label(similarity, labels, classes, temperature):
    return labels.float().mean(1).round().long()


@exercise.mistake(
    "sign", "the least similar neighbor has the greatest vote here: weigh by exp(+similarity / τ)."
)
def _weight_of_distance(similarity, labels, classes, temperature):
    return _weighted_vote(torch.exp(-similarity / temperature), labels, classes)
