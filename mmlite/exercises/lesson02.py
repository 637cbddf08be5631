"""The exercises of lesson 02: correlation, redundancy, Barlow Twins, copies, effective rank."""

import math

import torch
from torch import Generator, Tensor

from mmlite import redundancy as course
from mmlite.exercises import Exercise, Mistake

# 02.1 cross-correlation ----------------------------------------------------------------------


def _draw_views(generator: Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return two views whose dimensions have means and deviations of their own."""
    dim = 4
    shared = torch.randn(size, dim, generator=generator)
    views = [shared + 0.7 * torch.randn(size, dim, generator=generator) for _ in range(2)]
    scale = 0.5 + 2 * torch.rand(2, dim, generator=generator)
    shift = 3 * torch.randn(2, dim, generator=generator)
    z1, z2 = (z * s + m for z, s, m in zip(views, scale, shift, strict=True))
    return z1, z2


def _correlate(
    z1: Tensor,
    z2: Tensor,
    axis: int = 0,
    centre: bool = True,
    scale: bool = True,
    correction: tuple[int, int] = (0, 0),
    rows: bool = False,
) -> Tensor:
    """Return the cross-correlation as its equation is read, or read wrongly.

    `correction` is what is taken off N in the deviation and in the mean of the products.
    """

    def standard(z):
        centred = z - z.mean(axis, keepdim=True) if centre else z
        squares = centred.square().sum(axis, keepdim=True)
        deviation = (squares / (z.shape[axis] - correction[0])).sqrt()
        return centred / deviation if scale else centred

    a, b = standard(z1), standard(z2)
    product = a @ b.T if rows else a.T @ b
    return product / (z1.shape[1 if rows else 0] - correction[1])


def _products_summed(z1, z2):
    return _correlate(z1, z2) * len(z1)


# 02.2 redundancy -----------------------------------------------------------------------------


def mean_squared_off_diagonal(correlation: Tensor) -> Tensor:
    """Return the mean of the squares of the entries of a matrix [D, D] off its diagonal."""
    dim = len(correlation)
    squares = correlation.square().sum() - correlation.diagonal().square().sum()
    return squares / (dim * (dim - 1))


def _draw_correlation(generator: Generator, size: int) -> tuple[Tensor]:
    h = torch.randn(2 * size, size, generator=generator)
    h = h + torch.randn(2 * size, 1, generator=generator)  # something that all dimensions share
    sign = 1 - 2 * torch.arange(size).fmod(2)  # with every other dimension of the other sign
    return (torch.corrcoef((sign * h).T),)


def _off(correlation: Tensor) -> Tensor:
    return correlation[~torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)]


# 02.3 Barlow Twins ---------------------------------------------------------------------------


def _draw_loss(generator: Generator, size: int) -> tuple[Tensor, Tensor, float]:
    off_diagonal = 0.1 + 0.4 * float(torch.rand((), generator=generator))
    return *_draw_views(generator, size), round(off_diagonal, 2)


def _loss(z1: Tensor, z2: Tensor, on: float, off: float, **reading) -> Tensor:
    C = _correlate(z1, z2, **reading)
    return on * (1 - C.diagonal()).square().sum() + off * _off(C).square().sum()


def _diagonal_to_zero(z1, z2, off_diagonal):
    C = _correlate(z1, z2)
    return C.diagonal().square().sum() + off_diagonal * _off(C).square().sum()


def _diagonal_counted_twice(z1, z2, off_diagonal):
    C = _correlate(z1, z2)
    return (1 - C.diagonal()).square().sum() + off_diagonal * C.square().sum()


def _means(z1, z2, off_diagonal):
    C = _correlate(z1, z2)
    return (1 - C.diagonal()).square().mean() + off_diagonal * _off(C).square().mean()


def _not_squared(z1, z2, off_diagonal):
    C = _correlate(z1, z2)
    return (1 - C.diagonal()).abs().sum() + off_diagonal * _off(C).abs().sum()


# 02.4 copies ---------------------------------------------------------------------------------


def copied_loss(dim: int, off_diagonal: float) -> float:
    """Return Barlow Twins' loss of `dim` copies of one dimension on which the views agree."""
    return off_diagonal * dim * (dim - 1)


def _draw_width(generator: Generator, size: int) -> tuple[int, float]:
    off_diagonal = 0.01 + 0.2 * float(torch.rand((), generator=generator))
    return size, round(off_diagonal, 3)


# 02.5 effective rank -------------------------------------------------------------------------


def effective_rank(singular_values: Tensor) -> Tensor:
    """Return exp of the entropy of the singular values [R], all > 0, as shares of their sum."""
    share = singular_values / singular_values.sum()
    return torch.special.entr(share).sum().exp()


def _draw_singular_values(generator: Generator, size: int) -> tuple[Tensor]:
    values = 0.05 + 3 * torch.rand(size, generator=generator)
    return (values.sort(descending=True).values,)


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


_WHY_CORRELATION = (
    "float32 loses about 1e-6 where a mean of 3 deviations is subtracted; 1e-4 leaves room for any "
    "order of the sums, and N − 1 in place of N changes the result by 1/N"
)

_NOT_CENTRED = (
    "centring was forgotten: subtract from each dimension its mean over the batch before anything "
    "else."
)
_WRONG_AXIS = (
    "the mean and deviation were taken over the dimensions of an image, not over the images of the "
    "batch: use dim=0."
)
_MIXED = (
    "two deviations are mixed, so that C of a dimension with itself is not 1: torch's std divides "
    "by N − 1 where the mean of the products divides by N. Use one of them for both "
    "(std(correction=0))."
)
_COVARIANCE = "this is the covariance: divide each dimension by its deviation over the batch."

EXERCISES = (
    Exercise(
        id="02.1",
        title="the cross-correlation of two views",
        points=2,
        minutes=15,
        difficulty=2,
        function="my_cross_correlation",
        reference=course.cross_correlation,
        home="mmlite.redundancy.cross_correlation",
        draw=_draw_views,
        sizes=(4, 6, 16),
        hidden_sizes=(3, 100),
        tolerance=1e-4,
        why_tolerance=_WHY_CORRELATION,
        mistakes=(
            Mistake(
                "centring forgotten",
                lambda z1, z2: _correlate(z1, z2, centre=False),
                _NOT_CENTRED,
            ),
            Mistake("wrong axis", lambda z1, z2: _correlate(z1, z2, axis=1), _WRONG_AXIS),
            Mistake(
                "mixed deviation",
                lambda z1, z2: _correlate(z1, z2, correction=(1, 0)),
                _MIXED,
            ),
            Mistake(
                "mixed deviation, the other way",
                lambda z1, z2: _correlate(z1, z2, correction=(0, 1)),
                _MIXED,
            ),
            Mistake("covariance", lambda z1, z2: _correlate(z1, z2, scale=False), _COVARIANCE),
            Mistake(
                "products summed",
                _products_summed,
                "the products are summed over the batch: divide by N, for their mean.",
            ),
            Mistake(
                "transposed",
                lambda z1, z2: _correlate(z2, z1),
                "this is C transposed: row i belongs to dimension i of z1, column j to dimension "
                "j of z2.",
            ),
            Mistake(
                "images correlated",
                lambda z1, z2: _correlate(z1, z2, axis=1, rows=True),
                "this is [N, N], the correlation of images: correlate the dimensions, "
                "[P, N] @ [N, P].",
            ),
        ),
    ),
    Exercise(
        id="02.2",
        title="how much dimensions repeat each other",
        points=1,
        minutes=10,
        difficulty=2,
        function="my_redundancy",
        reference=mean_squared_off_diagonal,
        home="mmlite.exercises.lesson02.mean_squared_off_diagonal",
        draw=_draw_correlation,
        sizes=(2, 4, 9),
        hidden_sizes=(3, 40),
        tolerance=1e-5,
        why_tolerance="float32 rounds sums of squares below 1 by about 1e-7 each; 1e-5 leaves room "
        "for any order of the sums",
        mistakes=(
            Mistake(
                "diagonal counted",
                lambda correlation: correlation.square().mean(),
                "the diagonal is counted too: a dimension's correlation with itself is always 1 "
                "and says nothing.",
            ),
            Mistake(
                "diagonal in the number",
                lambda correlation: _off(correlation).square().sum() / correlation.numel(),
                "the sum leaves the diagonal out, but it is divided by D²: there are D (D − 1) "
                "entries off the diagonal.",
            ),
            Mistake(
                "sum",
                lambda correlation: _off(correlation).square().sum(),
                "this is the sum: divide by the number of entries off the diagonal, so that "
                "representations of different widths can be compared.",
            ),
            Mistake(
                "not squared",
                lambda correlation: _off(correlation).mean(),
                "square the entries first: correlations of −1 and 1 are both repetition, and their "
                "mean is 0.",
            ),
            Mistake(
                "absolute",
                lambda correlation: _off(correlation).abs().mean(),
                "this is the mean of the absolute values: the exercise asks for squares.",
            ),
            Mistake(
                "root",
                lambda correlation: _off(correlation).square().mean().sqrt(),
                "this is the root of the mean square: leave the root out.",
            ),
        ),
    ),
    Exercise(
        id="02.3",
        title="Barlow Twins",
        points=3,
        minutes=25,
        difficulty=3,
        function="my_barlow_twins",
        reference=course.barlow_twins,
        home="mmlite.redundancy.barlow_twins",
        draw=_draw_loss,
        sizes=(4, 6, 16),
        hidden_sizes=(3, 100),
        tolerance=1e-3,
        why_tolerance="the loss is a sum of 16 squares of correlations that float32 gives to 1e-5; "
        "1e-3 is a tenth of what the deviation's N − 1 changes at N = 100",
        mistakes=(
            Mistake(
                "centring forgotten",
                lambda z1, z2, off: _loss(z1, z2, 1, off, centre=False),
                _NOT_CENTRED,
            ),
            Mistake(
                "wrong axis",
                lambda z1, z2, off: _loss(z1, z2, 1, off, axis=1),
                _WRONG_AXIS,
            ),
            Mistake(
                "mixed deviation",
                lambda z1, z2, off: _loss(z1, z2, 1, off, correction=(1, 0)),
                _MIXED,
            ),
            Mistake(
                "mixed deviation, the other way",
                lambda z1, z2, off: _loss(z1, z2, 1, off, correction=(0, 1)),
                _MIXED,
            ),
            Mistake(
                "covariance",
                lambda z1, z2, off: _loss(z1, z2, 1, off, scale=False),
                _COVARIANCE,
            ),
            Mistake(
                "weight on the diagonal",
                lambda z1, z2, off: _loss(z1, z2, off, 1),
                "λ weighs the diagonal here: it belongs to the entries off the diagonal.",
            ),
            Mistake(
                "weight on both",
                lambda z1, z2, off: _loss(z1, z2, off, off),
                "λ weighs both sums: only the entries off the diagonal get it.",
            ),
            Mistake(
                "weight unused",
                lambda z1, z2, off: _loss(z1, z2, 1, 1),
                "λ is not used: it weighs the entries off the diagonal.",
            ),
            Mistake(
                "diagonal to zero",
                _diagonal_to_zero,
                "the diagonal is driven to 0, so that the two views disagree: its terms are "
                "(1 − C_ii)².",
            ),
            Mistake(
                "diagonal counted twice",
                _diagonal_counted_twice,
                "the second sum holds the diagonal too: only entries with i ≠ j belong to it.",
            ),
            Mistake(
                "means",
                _means,
                "the equation has sums where means were taken, and λ means another thing then.",
            ),
            Mistake(
                "not squared",
                _not_squared,
                "absolute values were summed: the equation squares them.",
            ),
        ),
    ),
    Exercise(
        id="02.4",
        title="the price of copies",
        points=2,
        minutes=10,
        difficulty=2,
        function="my_copied_loss",
        reference=copied_loss,
        home="mmlite.exercises.lesson02.copied_loss",
        draw=_draw_width,
        sizes=(2, 8, 64),
        hidden_sizes=(3, 1024),
        tolerance=1e-5,
        why_tolerance="a product of three numbers; float32 rounds it by 1e-7",
        mistakes=(
            Mistake(
                "diagonal counted",
                lambda dim, off: off * dim * dim,
                "C has dim² entries, but those on its diagonal cost nothing: (1 − 1)² = 0.",
            ),
            Mistake(
                "each pair once",
                lambda dim, off: off * dim * (dim - 1) / 2,
                "each pair of dimensions stands in C twice, as C_ij and as C_ji.",
            ),
            Mistake(
                "weight unused",
                lambda dim, off: float(dim * (dim - 1)),
                "λ is not used: every entry off the diagonal costs λ · 1².",
            ),
            Mistake(
                "one dimension's price",
                lambda dim, off: off * (dim - 1),
                "this is the price of one dimension's row: there are dim rows.",
            ),
            Mistake(
                "nothing agrees",
                lambda dim, off: float(dim),
                "this is the loss of dimensions that agree with nothing, C = 0: copies agree with "
                "everything, C = 1 everywhere.",
            ),
        ),
    ),
    Exercise(
        id="02.5",
        title="effective rank",
        points=2,
        minutes=15,
        difficulty=2,
        function="my_effective_rank",
        reference=effective_rank,
        home="mmlite.exercises.lesson02.effective_rank",
        draw=_draw_singular_values,
        sizes=(2, 5, 20),
        hidden_sizes=(3, 200),
        tolerance=1e-4,
        why_tolerance="float32 rounds the entropy of up to 200 shares by about 1e-6, and exp makes "
        "that relative; 1e-4 leaves room for any order of the sums and for a small number inside "
        "the logarithm",
        mistakes=(
            Mistake(
                "entropy",
                lambda s: _entropy(s / s.sum()),
                "this is the entropy: the effective rank is its exponential.",
            ),
            Mistake(
                "sign",
                lambda s: torch.exp(-_entropy(s / s.sum())),
                "the sign of the entropy is wrong: it is minus the sum of p log p.",
            ),
            Mistake(
                "squares",
                lambda s: _entropy(s.square() / s.square().sum()).exp(),
                "the squares of the singular values were made shares: Roy and Vetterli take the "
                "singular values themselves.",
            ),
            Mistake(
                "divided by the greatest",
                lambda s: _entropy(s / s.max()).exp(),
                "the singular values were divided by the greatest: shares have the sum 1, so "
                "divide by the sum.",
            ),
            Mistake(
                "base 2",
                lambda s: (_entropy(s / s.sum()) / math.log(2)).exp(),
                "the logarithm has base 2 and the exponential base e: use one base for both.",
            ),
            Mistake(
                "participation ratio",
                lambda s: 1 / (s / s.sum()).square().sum(),
                "this is the participation ratio, 1 / Σ p²: a good number, but not the exponential "
                "of the entropy.",
            ),
            Mistake(
                "count",
                lambda s: torch.tensor(float(len(s)), device=s.device),
                "this is the number of singular values that are not 0, the ordinary rank: small "
                "ones should count less.",
            ),
        ),
    ),
)
