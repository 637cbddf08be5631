"""Exercise 01.4: the NT-Xent loss."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.contrastive import nt_xent
from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson01.ex1_cosine_similarity import cosine_similarity


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, float]:
    z1 = 2 * torch.randn(size, 5, generator=generator)
    z2 = z1 + torch.randn(size, 5, generator=generator)
    temperature = 0.2 + 0.6 * float(torch.rand((), generator=generator))
    return z1, z2, round(temperature, 2)


exercise = Exercise(
    id="01.4",
    title="the NT-Xent loss",
    points=5,
    minutes=30,
    difficulty=4,
    function="my_nt_xent",
    reference=nt_xent,
    home="mmlite.nt_xent",
    draw=draw,
    sizes=(2, 3, 8),
    hidden_sizes=(5, 64),
    tolerance=1e-4,
    why_tolerance="float32 softmax over at most 128 entries rounds by about 1e-6; the mistakes "
    "below are off by more than 1e-2",
)


def _nt_xent_variant(
    z1,
    z2,
    temperature,
    diagonal_in=False,
    normalize=True,
    times=False,
    reduction="mean",
    neighbors=False,
    softmax=False,
):
    z = torch.cat([z1, z2])
    z = F.normalize(z, dim=1) if normalize else z
    similarity = z @ z.T * temperature if times else z @ z.T / temperature
    if not diagonal_in:
        similarity = similarity.masked_fill(
            torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf
        )
    row = torch.arange(len(z), device=z.device)
    partner = row ^ 1 if neighbors else row.roll(len(z1))
    logits = similarity.softmax(1) if softmax else similarity
    return F.cross_entropy(logits, partner, reduction=reduction)


def _cross_view(z1, z2, temperature):
    similarity = cosine_similarity(z1, z2) / temperature
    return similarity, torch.arange(len(z1), device=z1.device)


@exercise.mistake(
    "diagonal left in",
    "this is the loss without removing a view's similarity to itself: set the "
    "diagonal to −inf before the softmax.",
)
def _diagonal_left_in(*case):
    return _nt_xent_variant(*case, diagonal_in=True)


@exercise.mistake(
    "no normalization",
    "the dot products are of vectors of any length: divide each row by its norm "
    "first, so that similarities are cosines.",
)
def _no_normalization(*case):
    return _nt_xent_variant(*case, normalize=False)


@exercise.mistake(
    "one direction only",
    "only the first views look for their partners: let the second views look too, "
    "and take the mean over all 2N rows.",
)
def _one_direction(z1, z2, temperature):
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    same = (z1 @ z1.T / temperature).masked_fill(
        torch.eye(len(z1), dtype=torch.bool, device=z1.device), -torch.inf
    )
    similarity = torch.cat([z1 @ z2.T / temperature, same], 1)
    return F.cross_entropy(similarity, torch.arange(len(z1), device=z1.device))


@exercise.mistake(
    "other view only",
    "each first view is compared with second views only, and in one direction: the "
    "softmax runs over all 2N − 1 other views, those of its own kind too, for all 2N "
    "rows.",
)
def _other_view_only(z1, z2, temperature):
    return F.cross_entropy(*_cross_view(z1, z2, temperature))


@exercise.mistake(
    "other view only, both directions",
    "a view is compared only with views of the other kind (this is CLIP's loss): "
    "NT-Xent's softmax also runs over the other images' views of its own kind.",
)
def _other_view_both_directions(z1, z2, temperature):
    similarity, own = _cross_view(z1, z2, temperature)
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2


@exercise.mistake(
    "times temperature", "the similarities were multiplied by the temperature: divide by it."
)
def _times_temperature(*case):
    return _nt_xent_variant(*case, times=True)


@exercise.mistake(
    "temperature forgotten", "the temperature is not used: divide the similarities by it."
)
def _temperature_forgotten(z1, z2, temperature):
    return _nt_xent_variant(z1, z2, 1.0)


@exercise.mistake("sum", "this is the sum over the 2N rows: take their mean.")
def _sum(*case):
    return _nt_xent_variant(*case, reduction="sum")


@exercise.mistake("twice", "this is twice the loss: divide by 2N rows, not by N images.")
def _twice(*case):
    return 2 * _nt_xent_variant(*case)


@exercise.mistake(
    "partner left out",
    "the partner is missing from the denominator (this is the decoupled loss of Yeh "
    "et al. 2022): the sum runs over all j ≠ i, the partner too.",
)
def _partner_left_out(z1, z2, temperature):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    similarity = z @ z.T / temperature
    n = len(z1)
    index = torch.arange(2 * n, device=z.device)
    partner = index.roll(n)
    positive = similarity[index, partner]
    hidden = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    hidden[index, partner] = True
    return (similarity.masked_fill(hidden, -torch.inf).logsumexp(1) - positive).mean()


@exercise.mistake(
    "neighbors as partners",
    "rows 2i and 2i + 1 are taken for partners here; the second views stand below all the first, "
    "so the partner of row i is N rows further on.",
)
def _neighbors_as_partners(*case):
    return _nt_xent_variant(*case, neighbors=True)


@exercise.mistake(
    "softmax twice",
    "the softmax is taken twice: F.cross_entropy takes logits and has a softmax of its own.",
)
def _softmax_twice(*case):
    return _nt_xent_variant(*case, softmax=True)
