"""The exercises of lesson 03: what a dimension holds, masks, and a gain that is not luck."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite import confounders as course
from mmlite.exercises import Exercise, Mistake

# Dimensions that do not vary -----------------------------------------------------------------

Information = Callable[[Tensor, Tensor], Tensor]  # from h [N, D] and what is known of the rows


def _with_constants(h: Tensor, generator: Generator) -> Tensor:
    """Return h [N, D] with two more columns: zeros, and a number whose mean rounds to another.

    Such a column's sum of squares about its mean is not 0, only small. (Where N is a power of 2 no
    mean of equal numbers rounds.)
    """
    alone = h.new_zeros(len(h), 1)
    for _ in range(100):
        value = 0.1 + torch.rand((), generator=generator)
        whole = torch.cat([h, alone, alone + value], 1)
        if bool((whole - whole.mean(0))[:, -1].any()):
            break
    return whole


def _constant(h: Tensor) -> Tensor:
    return (h == h[0]).all(0)


def _constants_last(reference: Information, tolerance: float) -> Callable[..., Any]:
    """Return how an answer is observed: constant dimensions count once all others are right.

    So a mistake that has nothing to do with them is recognised whatever the answer does there; and
    then NaN in one of them becomes NaN in all, a number other than 0 becomes 1 in all. How a sum
    rounds does not decide which mistake is seen.
    """

    def observe(function: Information, h: Tensor, known: Tensor) -> Any:
        constant, expected = _constant(h), reference(h, known)
        got = function(h, known)
        if (
            not isinstance(got, Tensor)
            or got.shape != expected.shape
            or not got.is_floating_point()
            or got.is_meta
        ):
            return got
        got, expected, constant = got.detach().clone().cpu(), expected.cpu(), constant.cpu()
        there = got[constant]
        got[constant] = 0
        if torch.allclose(got.double(), expected.double(), rtol=tolerance, atol=tolerance):
            got[constant] = torch.nan if bool(there.isnan().any()) else _holds(there, tolerance)
        return got

    return observe


def _holds(information: Tensor, tolerance: float) -> float:
    return float((information.abs() > tolerance).any())


def _constants_as(value: float, reference: Information) -> Information:
    """Return an answer that is right but for constant dimensions."""

    def answer(h: Tensor, known: Tensor) -> Tensor:
        return torch.where(_constant(h), value, reference(h, known))

    return answer


NAN_FOR_CONSTANTS = (
    "a dimension that does not vary gives 0 / 0, NaN: return 0 there. Such a dimension has the "
    "same number everywhere; (h != h[0]).any(0) is True where one varies."
)
MORE_FOR_CONSTANTS = (
    "a dimension that does not vary gets a share other than 0. The mean of equal numbers rounds, "
    "so their sum of squares about it is not always 0: ask whether the numbers differ, "
    "(h != h[0]).any(0), in place of total > 0."
)


def _of_constants(reference: Information) -> tuple[Mistake, ...]:
    nan, more = (_constants_as(value, reference) for value in (torch.nan, 1.0))
    return (
        Mistake("NaN for a constant dimension", nan, NAN_FOR_CONSTANTS),
        Mistake("more than 0 for a constant dimension", more, MORE_FOR_CONSTANTS),
    )


def _say_of_constants(observed: Tensor) -> str | None:
    """Say what is wrong with the last two dimensions, if they are what is wrong.

    Where sums round as they should not in some cases only, no mistake is recognised.
    """
    if observed.shape != (6,) or observed.is_meta or not observed.is_floating_point():
        return None
    last = observed[-2:]
    if bool(last.isnan().any()):
        return NAN_FOR_CONSTANTS
    return MORE_FOR_CONSTANTS if bool(last.any()) else None


# 03.1 class information ----------------------------------------------------------------------


def _draw_labelled(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return representations that follow the class more or less; classes differ in size."""
    labels = torch.randint(0, 3, (size,), generator=generator) * torch.randint(
        0, 2, (size,), generator=generator
    )
    labels[:3] = torch.arange(3)
    means = 2 * torch.randn(3, 4, generator=generator)
    share = torch.rand(4, generator=generator)
    h = share * means[labels] + torch.randn(size, 4, generator=generator)
    return _with_constants(2 * h + 3 * torch.randn(4, generator=generator), generator), labels


def _class_means(h: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [classes, D] and the number [classes] of each class that occurs."""
    classes, count = labels.unique(return_counts=True)
    return torch.stack([h[labels == c].mean(0) for c in classes]), count


def _between(h: Tensor, labels: Tensor, grand: Tensor | float, weighted: bool = True) -> Tensor:
    """Return the sum of squares [D] of the class means about `grand`, for every image."""
    means, count = _class_means(h, labels)
    squares = (means - grand).square()
    return (squares * count[:, None]).sum(0) if weighted else squares.mean(0) * len(h)


def _total(h: Tensor) -> Tensor:
    return (h - h.mean(0)).square().sum(0)


def _explained_by_class(h: Tensor, labels: Tensor) -> Tensor:
    return _between(h, labels, h.mean(0)) / _total(h)


def _ratio_of_between_to_within(h, labels):
    between = _between(h, labels, h.mean(0))
    return between / (_total(h) - between)


def _means_not_weighted(h, labels):
    return _between(h, labels, h.mean(0), weighted=False) / _total(h)


# 03.2 nuisance information -------------------------------------------------------------------


def _draw_nuisance(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return representations that follow three numbers more or less, and those numbers."""
    nuisance = torch.rand(size, 3, generator=generator)
    nuisance[:, 1] = nuisance[:, 1] + 0.5 * nuisance[:, 0]  # two of them correlate
    weight = 3 * torch.randn(3, 4, generator=generator)
    h = nuisance @ weight + torch.randn(size, 4, generator=generator)
    return _with_constants(h + torch.randn(4, generator=generator), generator), nuisance


def _explained_by_fit(
    h: Tensor, nuisance: Tensor, intercept: bool = True, about_mean: bool = True
) -> Tensor:
    h, nuisance = h.double(), nuisance.double()
    columns = [nuisance, nuisance.new_ones(len(nuisance), 1)] if intercept else [nuisance]
    inputs = torch.cat(columns, 1)
    residual = h - inputs @ (torch.linalg.pinv(inputs) @ h)
    return (1 - residual.square().sum(0) / (_total(h) if about_mean else h.square().sum(0))).float()


def _first_number_only(h, nuisance):
    return _explained_by_fit(h, nuisance[:, :1])


def _each_number_on_its_own(h, nuisance):
    return sum(_explained_by_fit(h, one[:, None]) for one in nuisance.T)


# 03.3 the best dimensions --------------------------------------------------------------------


def _draw_information(generator: Generator, size: int) -> tuple[Tensor, float]:
    keep = 0.3 + 0.4 * float(torch.rand((), generator=generator))
    if size <= 4:
        keep = keep / (4 * size)  # of so few, keep * D rounds to 0, and one is to be kept
    return torch.rand(size, generator=generator), round(keep, 2)


def _order(information: Tensor) -> Tensor:
    return information.argsort(descending=True, stable=True)


def _count(information: Tensor, keep: float) -> int:
    return max(1, round(keep * len(information)))


def _as_mask(information: Tensor, kept: Tensor) -> Tensor:
    mask = torch.zeros(len(information), dtype=torch.bool, device=information.device)
    mask[kept] = True
    return mask


# 03.4 similarity behind a mask ---------------------------------------------------------------


def masked_similarity(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Return the cosines [N, M] of the rows of a [N, D] and b [M, D] in the dimensions kept."""
    return F.normalize(a[:, mask], dim=1) @ F.normalize(b[:, mask], dim=1).T


def _draw_masked(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.rand(size, generator=generator) < 0.5
    mask[:3] = torch.tensor([True, False, True])
    return (
        torch.randn(5, size, generator=generator),
        torch.randn(4, size, generator=generator),
        mask,
    )


def _mask_after_length(a, b, mask):
    return F.normalize(a, dim=1)[:, mask] @ F.normalize(b, dim=1)[:, mask].T


def _one_side_whole(a, b, mask):
    return F.normalize(a, dim=1) @ F.normalize(b * mask, dim=1).T


# 03.5 a gain that is not luck ----------------------------------------------------------------


def split_gain(right: Tensor, whole_right: Tensor, first: Tensor) -> Tensor:
    """Return what the mask that is best on the images `first` gains on the other images.

    Args:
        right: which images [N] each mask reads rightly, bool [M, N].
        whole_right: which the whole representation reads rightly, bool [N].
        first: which images choose, bool [N].

    Returns:
        The difference of two accuracies, a scalar.
    """
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best, ~first]) - _accuracy(whole_right[~first])


def _accuracy(right: Tensor) -> Tensor:
    return right.float().mean()


def _draw_study(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a study in which each part of the images, and all, have a best mask of their own."""
    images = 40
    first = torch.rand(images, generator=generator) < 0.5
    first[:2] = torch.tensor([True, False])
    right = torch.rand(size, images, generator=generator) < 0.4
    of_first, of_rest, of_all = torch.randperm(size, generator=generator)[:3].tolist()
    right[of_first] = first | (torch.rand(images, generator=generator) < 0.2)
    right[of_rest] = ~first | (torch.rand(images, generator=generator) < 0.2)
    right[of_all] = torch.rand(images, generator=generator) < 0.9
    right[of_all] &= _all_but_one(first) & _all_but_one(~first)
    return right, torch.rand(images, generator=generator) < 0.5, first


def _all_but_one(part: Tensor) -> Tensor:
    """Return all images but the first of a part."""
    kept = torch.ones_like(part)
    kept[part.nonzero()[0]] = False
    return kept


def _best_gain_where_chosen(right, whole_right, first):
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best, first]) - _accuracy(whole_right[first])


def _best_gain_on_the_rest(right, whole_right, first):
    best = right[:, ~first].sum(1).argmax()
    return _accuracy(right[best, ~first]) - _accuracy(whole_right[~first])


def _best_on_all(right, whole_right, first):
    best = right.sum(1).argmax()
    return _accuracy(right[best, ~first]) - _accuracy(whole_right[~first])


def _scored_on_all(right, whole_right, first):
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best]) - _accuracy(whole_right)


def _no_comparison(right, whole_right, first):
    best = right[:, first].sum(1).argmax()
    return _accuracy(right[best, ~first])


EXERCISES = (
    Exercise(
        id="03.1",
        title="what the class explains of a dimension",
        points=2,
        minutes=20,
        difficulty=3,
        function="my_class_information",
        reference=course.class_information,
        home="mmlite.confounders.class_information",
        draw=_draw_labelled,
        sizes=(6, 12, 40),
        hidden_sizes=(5, 200),
        tolerance=1e-4,
        why_tolerance="float32 loses about 1e-6 where a mean of 3 deviations is subtracted; 1e-4 "
        "leaves room for any order of the sums",
        mistakes=(
            Mistake(
                "what is left",
                lambda h, labels: 1 - _explained_by_class(h, labels),
                "this is what the class leaves unexplained: take it from 1.",
            ),
            Mistake(
                "between over within",
                _ratio_of_between_to_within,
                "this is the variation between classes over that within them: divide by all "
                "variation, for a share in 0..1.",
            ),
            Mistake(
                "classes not weighted",
                _means_not_weighted,
                "each class counts the same here: weigh the square of a class mean by the number "
                "of its images.",
            ),
            Mistake(
                "grand mean forgotten",
                lambda h, labels: _between(h, labels, 0.0) / _total(h),
                "the class means are squared as they are: subtract the mean of all images first.",
            ),
            Mistake(
                "total not centred",
                lambda h, labels: _between(h, labels, h.mean(0)) / h.square().sum(0),
                "the total is a sum of squares about 0: take it about the mean.",
            ),
            Mistake(
                "all dimensions together",
                lambda h, labels: _between(h, labels, h.mean(0)) / _total(h).sum(),
                "each dimension's variation was divided by that of all dimensions: divide by its "
                "own.",
            ),
            Mistake(
                "root",
                lambda h, labels: _explained_by_class(h, labels).sqrt(),
                "this is the root, η: the share of the variance is its square.",
            ),
            *_of_constants(course.class_information),
        ),
        observe=_constants_last(course.class_information, 1e-4),
        explain=_say_of_constants,
    ),
    Exercise(
        id="03.2",
        title="what the background explains of a dimension",
        points=3,
        minutes=25,
        difficulty=3,
        function="my_nuisance_information",
        reference=course.nuisance_information,
        home="mmlite.confounders.nuisance_information",
        draw=_draw_nuisance,
        sizes=(8, 12, 40),
        hidden_sizes=(6, 200),
        tolerance=1e-3,
        why_tolerance="a fit in float32 by the normal equations squares the conditioning and keeps "
        "about four digits; the smallest mistake changes some share by more than 1e-2",
        mistakes=(
            Mistake(
                "what is left",
                lambda h, nuisance: 1 - _explained_by_fit(h, nuisance),
                "this is what the fit leaves: take it from 1.",
            ),
            Mistake(
                "no intercept",
                lambda h, nuisance: _explained_by_fit(h, nuisance, intercept=False),
                "the fit has no intercept: append a column of ones to the nuisance, or centre "
                "both first.",
            ),
            Mistake(
                "no intercept, not centred",
                lambda h, nuisance: _explained_by_fit(h, nuisance, False, False),
                "the mean counts as variation here: centre h and the nuisance first.",
            ),
            Mistake(
                "total not centred",
                lambda h, nuisance: _explained_by_fit(h, nuisance, about_mean=False),
                "the residual is compared with a sum of squares about 0: take the total about the "
                "mean.",
            ),
            Mistake(
                "first number only",
                _first_number_only,
                "only the first number of the nuisance was fitted: use all its columns at once.",
            ),
            Mistake(
                "each number on its own",
                _each_number_on_its_own,
                "the numbers were fitted one by one and their shares added: what they share counts "
                "twice. Fit all columns at once.",
            ),
            Mistake(
                "root",
                lambda h, nuisance: _explained_by_fit(h, nuisance).sqrt(),
                "this is the root, the multiple correlation: the share of the variance is its "
                "square.",
            ),
            *_of_constants(course.nuisance_information),
        ),
        observe=_constants_last(course.nuisance_information, 1e-3),
        explain=_say_of_constants,
    ),
    Exercise(
        id="03.3",
        title="a mask of the best dimensions",
        points=1,
        minutes=10,
        difficulty=1,
        function="my_top_mask",
        reference=course.top_mask,
        home="mmlite.confounders.top_mask",
        draw=_draw_information,
        sizes=(4, 10, 33),
        hidden_sizes=(5, 128),
        tolerance=0,
        why_tolerance="a dimension is kept or not, and random numbers do not tie",
        mistakes=(
            Mistake(
                "lowest kept",
                lambda information, keep: _as_mask(
                    information, _order(-information)[: _count(information, keep)]
                ),
                "the dimensions with the least were kept: sort in descending order.",
            ),
            Mistake(
                "threshold",
                lambda information, keep: information > keep,
                "keep is a share of the dimensions, not a threshold of their information: keep "
                "the round(keep · D) best.",
            ),
            Mistake(
                "kept and dropped exchanged",
                lambda information, keep: (
                    ~_as_mask(information, _order(information)[: _count(information, keep)])
                ),
                "True and False are exchanged: the mask is True where a dimension is kept.",
            ),
            Mistake(
                "share dropped",
                lambda information, keep: _as_mask(
                    information,
                    _order(information)[: len(information) - _count(information, keep)],
                ),
                "keep · D dimensions were dropped: keep · D are to be kept.",
            ),
            Mistake(
                "first dimensions",
                lambda information, keep: _as_mask(
                    information,
                    torch.arange(_count(information, keep), device=information.device),
                ),
                "the first dimensions were kept, whatever they hold: sort by information.",
            ),
            Mistake(
                "none kept",
                lambda information, keep: _as_mask(
                    information, _order(information)[: round(keep * len(information))]
                ),
                "round(keep · D) is 0 for a small share, and then no dimension was kept: keep at "
                "least one.",
            ),
            Mistake(
                "indices",
                lambda information, keep: _order(information)[: _count(information, keep)],
                "these are the indices of the best dimensions: return a mask, True at these "
                "places, of the shape of information.",
            ),
        ),
    ),
    Exercise(
        id="03.4",
        title="similarity behind a mask",
        points=2,
        minutes=10,
        difficulty=2,
        function="my_masked_similarity",
        reference=masked_similarity,
        home="mmlite.exercises.lesson03.masked_similarity",
        draw=_draw_masked,
        sizes=(4, 8, 20),
        hidden_sizes=(3, 128),
        tolerance=1e-5,
        why_tolerance="float32 rounds products of unit vectors by about 1e-7; 1e-5 leaves room "
        "for any order of the sums",
        mistakes=(
            Mistake(
                "mask unused",
                lambda a, b, mask: F.normalize(a, dim=1) @ F.normalize(b, dim=1).T,
                "the mask is not used: leave out the dimensions where it is False.",
            ),
            Mistake(
                "mask after the length",
                _mask_after_length,
                "the rows were given length 1 before the mask: what is dropped still counts in "
                "their length. Mask first.",
            ),
            Mistake(
                "one side whole",
                _one_side_whole,
                "only b was masked before its length was taken: mask both.",
            ),
            Mistake(
                "no length",
                lambda a, b, mask: a[:, mask] @ b[:, mask].T,
                "this is the dot product of what is kept: divide each masked row by its length.",
            ),
            Mistake(
                "other dimensions",
                lambda a, b, mask: masked_similarity(a, b, ~mask),
                "the mask was turned round: True means kept.",
            ),
            Mistake(
                "dimensions in place of images",
                lambda a, b, mask: F.normalize(a * mask, dim=0) @ F.normalize(b * mask, dim=0).T,
                "the columns were normalised: a row is an image, so take the norm along dim=1.",
            ),
        ),
    ),
    Exercise(
        id="03.5",
        title="a gain that is not luck",
        points=3,
        minutes=20,
        difficulty=3,
        function="my_split_gain",
        reference=split_gain,
        home="mmlite.exercises.lesson03.split_gain",
        draw=_draw_study,
        sizes=(4, 10, 30),
        hidden_sizes=(5, 100),
        tolerance=1e-5,
        why_tolerance="the difference of two means of at most 40 zeros and ones, rounded to 1e-7",
        mistakes=(
            Mistake(
                "judged where it was chosen",
                _best_gain_where_chosen,
                "the gain is measured on the very images that chose the mask, so luck counts as "
                "skill: measure it on the others.",
            ),
            Mistake(
                "chosen where it is judged",
                _best_gain_on_the_rest,
                "the mask was chosen on the images that judge it: choose on `first`, judge on the "
                "others.",
            ),
            Mistake(
                "chosen on all",
                _best_on_all,
                "all images chose the mask, those that judge it among them: choose on `first` "
                "alone.",
            ),
            Mistake(
                "judged on all",
                _scored_on_all,
                "the gain is measured on all images, those that chose among them: leave `first` "
                "out.",
            ),
            Mistake(
                "accuracy",
                _no_comparison,
                "this is the mask's accuracy: subtract that of the whole representation on the "
                "same images.",
            ),
            Mistake(
                "sign",
                lambda right, whole_right, first: -split_gain(right, whole_right, first),
                "the difference has the wrong sign: a mask that is better than the whole has a "
                "gain above 0.",
            ),
        ),
    ),
)
