"""Exercise 06.2: the contrastive loss with all negatives."""

import math

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson06.features import labels_of, views_of


def contrastive(g1: Tensor, g2: Tensor) -> Tensor:
    """Return L = −E[g·g⁺] + E[log E₋ exp(g·g⁻)] of two views [N, D]; all 2N views are negatives."""
    g = torch.cat([g1, g2])
    return (g @ g.T).logsumexp(1).mean() - math.log(len(g)) - (g1 * g2).sum(1).mean()


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    f1, f2 = views_of(generator, labels_of(generator, size))
    return 1.5 * f1, 1.5 * f2


exercise = Exercise(
    id="06.2",
    title="the contrastive loss with all negatives",
    points=2,
    minutes=15,
    difficulty=2,
    function="my_contrastive",
    reference=contrastive,
    home="mmlite.exercises.lesson06.contrastive",
    draw=draw,
    sizes=(2, 9, 30),
    hidden_sizes=(5, 80),
    tolerance=1e-4,
    why_tolerance="float32 rounds a mean of some hundred logarithms by about 1e-6; 1e-4 leaves "
    "room for any order of the sums",
)


def _without(g1: Tensor, g2: Tensor, out: Tensor) -> Tensor:
    """Return the loss with some negatives left out, bool [2N, 2N]."""
    g = torch.cat([g1, g2])
    similarity = (g @ g.T).masked_fill(out.to(g.device), -math.inf)
    count = (~out).sum(1).to(g)
    return (similarity.logsumexp(1) - count.log()).mean() - (g1 * g2).sum(1).mean()


@exercise.mistake(
    "without itself",
    "the view itself was left out of the negatives, as NT-Xent leaves it out: here all 2N views "
    "count, for the account to balance.",
)
def _without_itself(g1, g2):
    return _without(g1, g2, torch.eye(2 * len(g1)).bool())


@exercise.mistake(
    "without the positive",
    "the positive was left out of the negatives: here all 2N views count, the positive and the "
    "view itself among them.",
)
def _without_the_positive(g1, g2):
    return _without(g1, g2, torch.eye(2 * len(g1)).roll(len(g1), 1).bool())


@exercise.mistake(
    "without its image",
    "both views of the image were left out of the negatives: here all 2N views count.",
)
def _without_its_image(g1, g2):
    return _without(g1, g2, torch.eye(len(g1)).repeat(2, 2).bool())


@exercise.mistake(
    "sum over negatives",
    "this is the sum of exp(g·g⁻) over the negatives: take their mean, or subtract log 2N.",
)
def _sum_over_negatives(g1, g2):
    return contrastive(g1, g2) + math.log(2 * len(g1))


@exercise.mistake(
    "other view alone",
    "the negatives are those of the other view alone: here they are all 2N views.",
)
def _other_view_alone(g1, g2):
    similarity = g1 @ g2.T
    log_mean = torch.cat([similarity.logsumexp(1), similarity.logsumexp(0)]).mean()
    return log_mean - math.log(len(g1)) - (g1 * g2).sum(1).mean()


@exercise.mistake(
    "one logarithm",
    "the logarithm was taken of the mean over all pairs: it is taken for each view, and then the "
    "mean.",
)
def _one_logarithm(g1, g2):
    g = torch.cat([g1, g2])
    log_mean = (g @ g.T).logsumexp((0, 1)) - 2 * math.log(len(g))
    return log_mean - (g1 * g2).sum(1).mean()


@exercise.mistake("sign", "the sign is wrong: a pair that lies close must make the loss small.")
def _sign(g1, g2):
    return -contrastive(g1, g2)
