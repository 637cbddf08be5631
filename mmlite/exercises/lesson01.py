"""The exercises of lesson 01: similarity and vote, two views, the loss, its push, collapse."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.contrastive import nt_xent
from mmlite.exercises import Exercise, Mistake, random_views
from mmlite.exercises.random_views import REACH

# 01.1 cosine similarity ----------------------------------------------------------------------


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine [N, M] of the angle between each row of a [N, P] and each of b [M, P]."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def _draw_two_sets(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    return (
        3 * torch.randn(size, 4, generator=generator),
        0.5 * torch.randn(size + 1, 4, generator=generator),
    )


def _wrong_axis(a, b):
    return F.normalize(a, dim=0) @ F.normalize(b, dim=0).T


def _one_side_normalised(a, b):
    return F.normalize(a, dim=1) @ b.T


def _squared_norm(a, b):
    return (a / a.square().sum(1, keepdim=True)) @ (b / b.square().sum(1, keepdim=True)).T


def _distance(a, b):
    return torch.cdist(F.normalize(a, dim=1), F.normalize(b, dim=1))


# 01.2 the vote -------------------------------------------------------------------------------


def knn_vote(similarity: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Return the class [M] that each query's k neighbours vote for, with weight exp(s / τ)."""
    return _weighted_vote(torch.exp(similarity / temperature), labels, classes)


def _weighted_vote(weight: Tensor, labels: Tensor, classes: int) -> Tensor:
    votes = weight.new_zeros(len(labels), classes).scatter_add_(1, labels, weight)
    return votes.argmax(1)


def _draw_neighbours(generator: Generator, size: int) -> tuple[Tensor, Tensor, int, float]:
    # Few classes and unequal similarities, so that counting, weighing and taking the nearest
    # one often disagree; 200 queries make it certain.
    similarity = torch.rand(200, size, generator=generator).sort(1, descending=True).values
    labels = torch.randint(0, 4, (200, size), generator=generator)
    return similarity, labels, 4, 0.25


def _count_only(similarity, labels, classes, temperature):
    return _weighted_vote(torch.ones_like(similarity), labels, classes)


def _nearest_only(similarity, labels, classes, temperature):
    return labels.gather(1, similarity.argmax(1, keepdim=True))[:, 0]


def _raw_similarity(similarity, labels, classes, temperature):
    return _weighted_vote(similarity, labels, classes)


def _mean_label(similarity, labels, classes, temperature):
    return labels.float().mean(1).round().long()


def _weight_of_distance(similarity, labels, classes, temperature):
    return _weighted_vote(torch.exp(-similarity / temperature), labels, classes)


# 01.3 two views ------------------------------------------------------------------------------


def two_views(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return two views of images [N, C, H, W], each image shifted and perhaps flipped by chance.

    Every image of every view gets a draw of its own: a shift of −3..3 pixels along each axis, the
    uncovered border filled with 0, and with probability 1/2 a horizontal flip.
    """
    return _view(images, generator), _view(images, generator)


def _view(
    images: Tensor,
    generator: Generator | None,
    flips: bool = True,
    each: bool = True,
    upside_down: bool = False,
    border: str = "constant",
    square: bool = False,
    shifts: int = 2 * REACH + 1,
    flip_each: bool = True,
) -> Tensor:
    count, _, height, width = images.shape
    draws = count if each else 1
    axes = 1 if square else 2
    shift = torch.randint(0, shifts, (draws, axes), generator=generator).expand(count, 2)
    decisions = draws if flip_each else 1
    flipped = torch.rand(decisions, generator=generator).expand(count) < 0.5
    if border == "constant":
        padded = F.pad(images, [REACH] * 4)
    else:  # torch wraps floats alone
        padded = F.pad(images.float(), [REACH] * 4, mode=border).to(images.dtype)
    rows, columns = (
        shift[:, axis, None] + torch.arange(length) for axis, length in enumerate((height, width))
    )
    which = torch.arange(count)[:, None, None]
    views = padded.movedim(1, 3)[which, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
    if not flips:
        return views
    turned = views.flip(2 if upside_down else 3)
    return torch.where(flipped[:, None, None, None].to(views.device), turned, views)


def _same_view_twice(images, generator):
    view = _view(images, generator)
    return view, view


def _one_draw_for_the_batch(images, generator):
    return _view(images, generator, each=False), _view(images, generator, each=False)


def _never_flipped(images, generator):
    return _view(images, generator, flips=False), _view(images, generator, flips=False)


def _flipped_upside_down(images, generator):
    return (
        _view(images, generator, upside_down=True),
        _view(images, generator, upside_down=True),
    )


def _wrapped_around(images, generator):
    return (
        _view(images, generator, border="circular"),
        _view(images, generator, border="circular"),
    )


def _generator_unused(images, generator):
    return _view(images, None), _view(images, None)


def _one_shift_for_both_axes(images, generator):
    return _view(images, generator, square=True), _view(images, generator, square=True)


def _shift_of_three_never_drawn(images, generator):
    return _view(images, generator, shifts=2 * REACH), _view(images, generator, shifts=2 * REACH)


def _one_flip_for_a_view(images, generator):
    return (
        _view(images, generator, flip_each=False),
        _view(images, generator, flip_each=False),
    )


def _type_changed(images, generator):
    return tuple(view.float() for view in two_views(images, generator))


# 01.4 NT-Xent --------------------------------------------------------------------------------


def _draw_projections(generator: Generator, size: int) -> tuple[Tensor, Tensor, float]:
    z1 = 2 * torch.randn(size, 5, generator=generator)
    z2 = z1 + torch.randn(size, 5, generator=generator)
    temperature = 0.2 + 0.6 * float(torch.rand((), generator=generator))
    return z1, z2, round(temperature, 2)


def _nt_xent_variant(
    z1, z2, temperature, diagonal_in=False, normalise=True, times=False, reduction="mean"
):
    z = torch.cat([z1, z2])
    z = F.normalize(z, dim=1) if normalise else z
    similarity = z @ z.T * temperature if times else z @ z.T / temperature
    if not diagonal_in:
        similarity = similarity.masked_fill(
            torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf
        )
    partner = torch.arange(len(z), device=z.device).roll(len(z1))
    return F.cross_entropy(similarity, partner, reduction=reduction)


def _cross_view(z1, z2, temperature):
    similarity = cosine_similarity(z1, z2) / temperature
    return similarity, torch.arange(len(z1), device=z1.device)


def _one_direction(z1, z2, temperature):
    z1, z2 = F.normalize(z1, dim=1), F.normalize(z2, dim=1)
    same = (z1 @ z1.T / temperature).masked_fill(
        torch.eye(len(z1), dtype=torch.bool, device=z1.device), -torch.inf
    )
    similarity = torch.cat([z1 @ z2.T / temperature, same], 1)
    return F.cross_entropy(similarity, torch.arange(len(z1), device=z1.device))


def _other_view_only(z1, z2, temperature):
    return F.cross_entropy(*_cross_view(z1, z2, temperature))


def _other_view_both_directions(z1, z2, temperature):
    similarity, own = _cross_view(z1, z2, temperature)
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2


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


# 01.5 what the loss pushes -------------------------------------------------------------------


def push(similarity: Tensor, temperature: float) -> Tensor:
    """Return each negative's share [M] of the push, from its similarity [M] to the query."""
    return torch.softmax(similarity / temperature, 0)


def _draw_similarities(generator: Generator, size: int) -> tuple[Tensor, float]:
    temperature = 0.1 + 0.4 * float(torch.rand((), generator=generator))
    return 2 * torch.rand(size, generator=generator) - 1, round(temperature, 2)


# 01.6 collapse -------------------------------------------------------------------------------


def collapsed_loss(n: int, temperature: float) -> float:
    """Return NT-Xent when all 2n views of n images have one and the same projection."""
    return math.log(2 * n - 1)


def _draw_batch(generator: Generator, size: int) -> tuple[int, float]:
    # any number of images: a table of the public sizes is no formula
    n = size + int(torch.randint(0, 1000, (), generator=generator))
    temperature = 0.1 + float(torch.rand((), generator=generator))
    return n, round(temperature, 2)


EXERCISES = (
    Exercise(
        id="01.1",
        title="cosine similarity of all pairs",
        points=1,
        minutes=5,
        difficulty=1,
        function="my_cosine_similarity",
        reference=cosine_similarity,
        home="mmlite.exercises.lesson01.cosine_similarity",
        draw=_draw_two_sets,
        sizes=(1, 3, 8),
        hidden_sizes=(2, 50),
        tolerance=1e-5,
        why_tolerance="float32 rounds products of unit vectors by about 1e-7; 1e-5 leaves room "
        "for any order of the sums",
        mistakes=(
            Mistake(
                "no normalisation",
                lambda a, b: a @ b.T,
                "this is the dot product: divide each row by its length first.",
            ),
            Mistake(
                "wrong axis",
                _wrong_axis,
                "the columns were normalised, not the rows: a row is a vector, so take the norm "
                "along dim=1.",
            ),
            Mistake(
                "one side normalised",
                _one_side_normalised,
                "the rows of a have length 1, those of b have not: normalise both.",
            ),
            Mistake(
                "squared norm",
                _squared_norm,
                "each row was divided by its squared length: take the square root.",
            ),
            Mistake(
                "distance",
                _distance,
                "this is the distance between the unit vectors: similarity grows as it shrinks. "
                "Multiply the unit vectors instead.",
            ),
        ),
    ),
    Exercise(
        id="01.2",
        title="the neighbours' vote",
        points=2,
        minutes=15,
        difficulty=2,
        function="my_knn_vote",
        reference=knn_vote,
        home="mmlite.exercises.lesson01.knn_vote",
        draw=_draw_neighbours,
        sizes=(5, 20),
        hidden_sizes=(3, 50),
        tolerance=0,
        why_tolerance="classes are whole numbers, and random weights do not tie",
        mistakes=(
            Mistake(
                "votes counted",
                _count_only,
                "every neighbour has the same vote here: weigh each by exp(similarity / τ).",
            ),
            Mistake(
                "nearest only",
                _nearest_only,
                "only the nearest neighbour decides here: let all k vote.",
            ),
            Mistake(
                "raw similarity",
                _raw_similarity,
                "the votes are weighed by the similarity itself: the weight is exp(similarity / "
                "τ).",
            ),
            Mistake(
                "mean label",
                _mean_label,
                "the labels were averaged, but they are names, not quantities: class 2 does not "
                "lie between 1 and 3. Add up the votes for each class and take the greatest.",
            ),
            Mistake(
                "sign",
                _weight_of_distance,
                "the least similar neighbour has the greatest vote here: weigh by exp(+similarity "
                "/ τ).",
            ),
        ),
    ),
    Exercise(
        id="01.3",
        title="two random views of every image",
        points=3,
        minutes=20,
        difficulty=3,
        function="my_two_views",
        reference=two_views,
        home="mmlite.exercises.lesson01.two_views",
        draw=random_views.coordinates,
        sizes=(1000,),
        hidden_sizes=(1200,),
        tolerance=0,
        why_tolerance="properties hold or do not",
        observe=random_views.observe,
        explain=random_views.explain,
        mistakes=(
            Mistake(
                "same view twice",
                _same_view_twice,
                "both views are the same tensor: draw a second time for the second view, or the "
                "two always agree and there is nothing to learn.",
            ),
            Mistake(
                "one draw for the batch",
                _one_draw_for_the_batch,
                "one shift and one flip serve the whole batch: draw one for each image, or the "
                "network can tell views apart by the shift they share.",
            ),
            Mistake(
                "never flipped",
                _never_flipped,
                "the views are shifted but never flipped: with probability 1/2 turn each left "
                "to right.",
            ),
            Mistake(
                "one flip for a view",
                _one_flip_for_a_view,
                "one decision flips all images of a view or none: draw one for each image.",
            ),
            Mistake(
                "one shift for both axes",
                _one_shift_for_both_axes,
                "every image moves along the diagonal, for one number shifts both axes: draw two, "
                "one for the rows and one for the columns.",
            ),
            Mistake(
                "a shift of 3 never drawn",
                _shift_of_three_never_drawn,
                "one of the shifts never comes: `torch.randint(0, 6, …)` stops at 5, so draw from "
                "0 to 6 with `torch.randint(0, 7, …)`.",
            ),
            Mistake(
                "type changed",
                _type_changed,
                "the views are right but for their type: they must have that of the images, so do "
                "not make floats of them.",
            ),
            Mistake(
                "generator unused",
                _generator_unused,
                "the views are right, but the same seed does not repeat them: pass "
                "`generator=generator` to every call that draws random numbers.",
            ),
            Mistake(
                "flipped upside down",
                _flipped_upside_down,
                "some views stand on their heads: flip the last axis (the columns), not the rows.",
            ),
            Mistake(
                "border wrapped around",
                _wrapped_around,
                "what leaves an image on one side comes back on the other, as torch.roll does: "
                "fill the border with 0.",
            ),
        ),
    ),
    Exercise(
        id="01.4",
        title="the NT-Xent loss",
        points=5,
        minutes=30,
        difficulty=4,
        function="my_nt_xent",
        reference=nt_xent,
        home="mmlite.nt_xent",
        draw=_draw_projections,
        sizes=(2, 3, 8),
        hidden_sizes=(5, 64),
        tolerance=1e-4,
        why_tolerance="float32 softmax over at most 128 entries rounds by about 1e-6; the mistakes "
        "below are off by more than 1e-2",
        mistakes=(
            Mistake(
                "diagonal left in",
                lambda *case: _nt_xent_variant(*case, diagonal_in=True),
                "this is the loss without removing a view's similarity to itself: set the "
                "diagonal to −inf before the softmax.",
            ),
            Mistake(
                "no normalisation",
                lambda *case: _nt_xent_variant(*case, normalise=False),
                "the dot products are of vectors of any length: divide each row by its norm "
                "first, so that similarities are cosines.",
            ),
            Mistake(
                "one direction only",
                _one_direction,
                "only the first views look for their partners: let the second views look too, "
                "and take the mean over all 2N rows.",
            ),
            Mistake(
                "other view only",
                _other_view_only,
                "each first view is compared with second views only, and in one direction: the "
                "softmax runs over all 2N − 1 other views, those of its own kind too, for all 2N "
                "rows.",
            ),
            Mistake(
                "other view only, both directions",
                _other_view_both_directions,
                "a view is compared only with views of the other kind (this is CLIP's loss): "
                "NT-Xent's softmax also runs over the other images' views of its own kind.",
            ),
            Mistake(
                "times temperature",
                lambda *case: _nt_xent_variant(*case, times=True),
                "the similarities were multiplied by the temperature: divide by it.",
            ),
            Mistake(
                "temperature forgotten",
                lambda z1, z2, temperature: _nt_xent_variant(z1, z2, 1.0),
                "the temperature is not used: divide the similarities by it.",
            ),
            Mistake(
                "sum",
                lambda *case: _nt_xent_variant(*case, reduction="sum"),
                "this is the sum over the 2N rows: take their mean.",
            ),
            Mistake(
                "twice",
                lambda *case: 2 * _nt_xent_variant(*case),
                "this is twice the loss: divide by 2N rows, not by N images.",
            ),
            Mistake(
                "partner left out",
                _partner_left_out,
                "the partner is missing from the denominator (this is the decoupled loss of Yeh "
                "et al. 2022): the sum runs over all j ≠ i, the partner too.",
            ),
        ),
    ),
    Exercise(
        id="01.5",
        title="which negative is pushed hardest",
        points=2,
        minutes=10,
        difficulty=2,
        function="my_push",
        reference=push,
        home="mmlite.exercises.lesson01.push",
        draw=_draw_similarities,
        sizes=(2, 5, 20),
        hidden_sizes=(3, 200),
        tolerance=1e-5,
        why_tolerance="a float32 softmax over at most 200 entries rounds by about 1e-6",
        mistakes=(
            Mistake(
                "temperature forgotten",
                lambda s, t: torch.softmax(s, 0),
                "the temperature is not used: it decides how far the push concentrates on the "
                "hardest negatives.",
            ),
            Mistake(
                "times temperature",
                lambda s, t: torch.softmax(s * t, 0),
                "the similarities were multiplied by the temperature: divide by it.",
            ),
            Mistake(
                "not normalised",
                lambda s, t: torch.exp(s / t),
                "these are the weights before they are made to sum to 1: divide by their sum.",
            ),
            Mistake(
                "sign",
                lambda s, t: torch.softmax(-s / t, 0),
                "the least similar negative gets the greatest share here: it is the other way "
                "around.",
            ),
        ),
    ),
    Exercise(
        id="01.6",
        title="the loss of a collapsed network",
        points=2,
        minutes=10,
        difficulty=2,
        function="my_collapsed_loss",
        reference=collapsed_loss,
        home="mmlite.exercises.lesson01.collapsed_loss",
        draw=_draw_batch,
        sizes=(2, 3, 16),
        hidden_sizes=(128, 1000),
        tolerance=1e-5,
        why_tolerance="one logarithm, in float32 or better",
        mistakes=(
            Mistake(
                "zero",
                lambda n, t: 0.0,
                "it is not 0: the partner is as similar as it can be, but so is every other view, "
                "and the softmax cannot tell them apart.",
            ),
            Mistake(
                "diagonal left in",
                lambda n, t: math.log(2 * n),
                "log 2n counts all 2n views: a view does not compete with itself.",
            ),
            Mistake(
                "images counted",
                lambda n, t: math.log(n),
                "log n counts images: each has two views, and a view does not compete with itself.",
            ),
            Mistake(
                "negatives counted",
                lambda n, t: math.log(2 * n - 2),
                "log(2n − 2) counts the negatives: the partner is in the denominator too.",
            ),
            Mistake(
                "one view each",
                lambda n, t: math.log(2 * n - 1) / t,
                "do not divide by the temperature: every similarity is 1, so 1/τ appears above and "
                "below the fraction and cancels.",
            ),
            Mistake(
                "minus sign",
                lambda n, t: -math.log(2 * n - 1),
                "mind the sign: the loss is −log of a probability, so it is not negative.",
            ),
            Mistake(
                "probability",
                lambda n, t: 1 / (2 * n - 1),
                "this is the probability of choosing the partner; the loss is −log of it.",
            ),
        ),
    ),
)
