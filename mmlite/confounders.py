"""What each dimension of a representation holds, and how well one does without some of them.

Two shares of each dimension's variance: what the class explains and what a known nuisance
explains. And the experiment that MetaMask sets out from (Li et al. 2022, section 1): read the
representation through many random masks that each leave some dimensions out, and see how often
less is more.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmlite.evaluation import alike, check_labeled, frozen, topk, vote
from mmlite.support import checks
from mmlite.support.scaling import over_largest

MASKS_AT_ONCE = 128
QUERIES_AT_ONCE = 2**21  # similarities held at once: 8 MB stay in a processor's cache
Labeled = tuple[Tensor, Tensor]  # representations float [N, D], labels int64 [N]


@frozen
def class_r2(h: Tensor, labels: Tensor) -> Tensor:
    """Return the share of each dimension's variance that lies between classes (η²).

    The sum of squares of the class means about the grand mean, over the total sum of squares: the
    correlation ratio of one-way analysis of variance (Fisher 1925). By chance alone it is about
    (classes − 1) / (N − 1).

    Args:
        h: representations, float [N, D], N >= 2.
        labels: int64 [N], each >= 0.

    Returns:
        [D], in 0..1; 0 for a dimension that does not vary.

    Raises:
        ValueError: shapes, types or values are wrong.
    """
    _check_matrix("h", h)
    if (
        not isinstance(labels, Tensor)
        or labels.dtype != torch.int64
        or labels.shape != h.shape[:1]
        or labels.device != h.device
        or bool((labels < 0).any())
    ):
        raise ValueError(
            f"labels must be int64 of shape [{len(h)}] without negative values, one for each row "
            f"of h, got {_described(labels)}"
        )
    centered = _standardized(h)
    member = torch.nn.functional.one_hot(labels).to(centered.dtype)  # [N, classes]
    count = member.sum(0).clamp(min=1)
    between = ((member.T @ centered).square() / count[:, None]).sum(0)
    return between.clamp(0, 1).to(_result_type(h))


@frozen
def nuisance_r2(h: Tensor, nuisance: Tensor) -> Tensor:
    """Return the share of each dimension's variance that a linear fit to the nuisance explains.

    R² of the least-squares fit with an intercept. By chance alone it is about K / (N − 1).

    Args:
        h: representations, float [N, D].
        nuisance: what is known of each image beside its class, float [N, K], N > K + 1; columns
            that repeat each other count once.

    Returns:
        [D], in 0..1; 0 for a dimension that does not vary.

    Raises:
        ValueError: shapes, types or values are wrong, or there are too few rows to fit.
    """
    _check_matrix("h", h)
    _check_matrix("nuisance", nuisance)
    if nuisance.device != h.device:
        raise ValueError(f"h lies on {h.device}, nuisance on {nuisance.device}; move one of them")
    if len(nuisance) != len(h):
        raise ValueError(
            f"nuisance must have one row for each of the {len(h)} rows of h, got {len(nuisance)}"
        )
    if len(h) <= nuisance.shape[1] + 1:
        raise ValueError(
            f"{len(h)} rows are too few to fit {nuisance.shape[1]} numbers and an intercept: "
            "every dimension would be explained perfectly"
        )
    directions, size, _ = torch.linalg.svd(_standardized(nuisance), full_matrices=False)
    # columns have length 1; what rounding of the given type leaves of one that repeats others
    rounding = 16 * nuisance.shape[1] * torch.finfo(_result_type(nuisance)).eps
    explained = ((directions * (size > rounding)).T @ _standardized(h)).square().sum(0)
    return explained.clamp(0, 1).to(_result_type(h))


@frozen
def top_mask(scores: Tensor, share: float) -> Tensor:
    """Return the mask [D] that keeps the dimensions with the highest scores.

    With `class_r2` it is the oracle that knows the labels; with minus
    `nuisance_r2` the oracle that knows the confounder.

    Args:
        scores: one number a dimension, [D].
        share: share of the dimensions to keep, in (0, 1]; at least one dimension is kept.

    Returns:
        bool [D].

    Raises:
        ValueError: an argument is out of its range.
    """
    if not (
        isinstance(scores, Tensor)
        and scores.dim() == 1
        and scores.layout == torch.strided
        and not scores.is_complex()
        and len(scores)
        and bool(scores.isfinite().all())
    ):
        raise ValueError(
            f"scores must be one finite number for each dimension, [D], got {_described(scores)}"
        )
    dim = len(scores)
    mask = torch.zeros(dim, dtype=torch.bool, device=scores.device)
    mask[scores.argsort(descending=True, stable=True)[: _kept(dim, share)]] = True
    return mask


def random_masks(dim: int, share: float, masks: int, seed: int = 0) -> Tensor:
    """Return random masks bool [masks, D], each keeping the same number of dimensions.

    Args:
        dim: D.
        share: share of the dimensions to keep, in (0, 1]; at least one dimension is kept.
        masks: how many.
        seed: seeds the draws.

    Raises:
        ValueError: an argument is out of its range.
    """
    dim, masks = checks.whole("dim", dim, 1), checks.whole("masks", masks, 1)
    kept = _kept(dim, share)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    order = torch.rand(masks, dim, generator=generator).argsort(1)
    return order < kept


@frozen
def mask_accuracy(
    train: Labeled, test: Labeled, masks: Tensor, k: int = 20, temperature: float = 0.1
) -> Tensor:
    """Return the kNN accuracy of the representation under each mask.

    A masked dimension is left out of the cosine similarity on both sides.

    Args:
        train, test: (h float [N, D], labels int64 [N]).
        masks: bool [M, D].
        k, temperature: as for `knn_accuracy`.

    Returns:
        float64 [M], on the CPU.

    Raises:
        ValueError: shapes, types or values are wrong, or a mask keeps nothing.
    """
    train, test, k, temperature = _checked(train, test, k, temperature)
    dim = train[0].shape[1]
    checks.tensor("masks", masks, f"bool of shape [M, {dim}]")
    if (
        masks.layout != torch.strided
        or masks.dtype != torch.bool
        or masks.dim() != 2
        or masks.shape[1] != dim
    ):
        raise ValueError(f"masks must be bool of shape [M, {dim}], got {_described(masks)}")
    if not bool(masks.any(1).all()):
        raise ValueError("a mask must keep at least one dimension")
    return _right(train, test, masks, k, temperature).double().mean(1)


def _right(train: Labeled, test: Labeled, masks: Tensor, k: int, temperature: float) -> Tensor:
    """Return which test images are read right under each mask: bool [M, N_test], on the CPU."""
    pieces = masks.to(train[0].device).split(MASKS_AT_ONCE)
    return torch.cat([_right_piece(train, test, piece, k, temperature) for piece in pieces])


def _right_piece(train: Labeled, test: Labeled, masks: Tensor, k: int, temperature: float):
    train_h, test_h = (_scaled(h) for h, _ in (train, test))
    train_length, test_length = (_masked_length(h, masks) for h in (train_h, test_h))
    subtract = _subtractable(train_length, masks) & _subtractable(test_length, masks)
    classes = int(train[1].max()) + 1
    columns = train_h.T.contiguous()
    right = masks.new_empty(len(masks), len(test_h))
    rows = max(1, QUERIES_AT_ONCE // len(train_h))
    for start in range(0, len(test_h), rows):
        query, truth = test_h[start : start + rows], test[1][start : start + rows]
        whole = query @ columns
        similarity = torch.empty_like(whole)
        for index, (mask, fewer) in enumerate(zip(masks, subtract.tolist(), strict=True)):
            if fewer:
                torch.addmm(whole, query[:, ~mask], columns[~mask], alpha=-1, out=similarity)
            else:
                torch.mm(query[:, mask], columns[mask], out=similarity)
            near, index_near = topk(similarity.mul_(_inverse(train_length[:, index])), k)
            near *= _inverse(test_length[start : start + rows, index, None])
            winner = vote(near, train[1][index_near], classes, temperature)
            right[index, start : start + rows] = winner == truth
    return right.cpu()


class MaskStudy(NamedTuple):
    """What `random_mask_study` found.

    Attributes:
        masks: bool [M, D].
        right: whether each mask reads each test image right, bool [M, N].
        whole_right: whether the whole representation does, bool [N].
    """

    masks: Tensor
    right: Tensor
    whole_right: Tensor

    @property
    def accuracy(self) -> Tensor:
        """The accuracy under each mask, float64 [M]."""
        return self.right.double().mean(1)

    @property
    def whole(self) -> float:
        """The accuracy of the whole representation."""
        return float(self.whole_right.double().mean())

    @property
    def share_above(self) -> float:
        """The share of the masks that read more test images right than the whole does."""
        above = self.right.sum(1) > self.whole_right.sum()
        return float(above.double().mean())


@frozen
def random_mask_study(
    train: Labeled,
    test: Labeled,
    share: float = 0.8,
    masks: int = 1000,
    seed: int = 0,
    k: int = 20,
    temperature: float = 0.1,
) -> MaskStudy:
    """Return how a representation reads under many random masks, and whole.

    The evidence that MetaMask starts from (Li et al. 2022, figure 2): if every dimension helped,
    leaving some out would hardly ever help. What the share of masks above the whole is worth,
    `chance_shares` and `split_gain` tell.

    Args:
        train, test: (h float [N, D], labels int64 [N]).
        share: share of the dimensions that each mask keeps, in (0, 1].
        masks: how many.
        seed: seeds the masks.
        k, temperature: as for `knn_accuracy`.

    Raises:
        ValueError: shapes, types or values are wrong.
    """
    train, test, k, temperature = _checked(train, test, k, temperature)
    drawn = random_masks(train[0].shape[1], share, masks, seed)
    whole = torch.ones(1, drawn.shape[1], dtype=torch.bool)
    right = _right(train, test, torch.cat([drawn, whole]), k, temperature)
    return MaskStudy(drawn, right[:-1], right[-1])


def chance_shares(study: MaskStudy, draws: int = 1000, seed: int = 0) -> Tensor:
    """Return shares of masks above the whole that the test images' luck alone would give.

    A bootstrap over test images under the null hypothesis that no mask reads better or worse than
    the whole: each mask's advantage on each image is centered on 0, images are drawn again with
    replacement, and the masks that come out ahead are counted. A binomial null, each mask ahead
    with probability 1/2 on its own, would be wrong: the masks are read from the same
    representation on the same images, so one lucky image helps them all.

    Args:
        study: what `random_mask_study` found.
        draws: how often to draw.
        seed: seeds the draws.

    Returns:
        float64 [draws], each in 0..1.

    Raises:
        ValueError: fewer than 1 draw.
    """
    checks.instance("study", study, MaskStudy, "a MaskStudy, as random_mask_study returns")
    draws = checks.whole("draws", draws, 1)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    ahead = study.right.float() - study.whole_right.float()
    images = ahead.shape[1]
    drawn = torch.randint(images, (draws, images), generator=generator)
    often = torch.zeros(draws, images).scatter_add_(1, drawn, torch.ones(draws, images))
    # centring each image's advantage takes their sum from a draw's; of whole numbers, which float32
    # holds exactly, so that a tie is a tie
    return (often @ ahead.T > ahead.sum(1)).double().mean(1)


class SplitGain(NamedTuple):
    """What the best of many masks gains over the whole, in accuracy.

    Attributes:
        seen: on the images that it was chosen by.
        fresh: on the others.
    """

    seen: float
    fresh: float


def split_gain(study: MaskStudy, splits: int = 100, seed: int = 0) -> SplitGain:
    """Return the gain of the best mask on the images that chose it, and on fresh ones.

    The test images are split at random into halves; the mask that reads most of one half right is
    compared with the whole on both halves, and then the halves change places. Means over the
    splits. The first gain is optimistic: the greatest of many noisy numbers. The second is not.

    Args:
        study: what `random_mask_study` found, of at least 2 test images.
        splits: how many.
        seed: seeds the splits.

    Raises:
        ValueError: fewer than 1 split, or fewer than 2 images.
    """
    checks.instance("study", study, MaskStudy, "a MaskStudy, as random_mask_study returns")
    splits, images = checks.whole("splits", splits, 1), len(study.whole_right)
    if images < 2:
        raise ValueError(f"split_gain needs a study of at least 2 images, got {images}")
    generator = torch.Generator().manual_seed(checks.seed(seed))
    ahead = study.right.float() - study.whole_right.float()
    gains = []
    for _ in range(splits):
        halves = torch.randperm(images, generator=generator).tensor_split(2)
        for half, other in (halves, halves[::-1]):
            best = ahead[:, half].mean(1).argmax()
            gains.append([float(ahead[best, half].mean()), float(ahead[best, other].mean())])
    seen, fresh = torch.tensor(gains, dtype=torch.float64).mean(0).tolist()
    return SplitGain(seen, fresh)


def _checked(
    train: Labeled, test: Labeled, k: int, temperature: float
) -> tuple[Labeled, Labeled, int, float]:
    """Return both in their common precision, or raise a ValueError that says what is wrong."""
    for name, pair in (("train", train), ("test", test)):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise checks.wrong(name, "a pair (h float [N, D], labels int64 [N])", pair)
    check_labeled("train", *train)
    check_labeled("test", *test)
    train_h, test_h = alike("test_h", train[0], test[0])
    k = checks.whole("k", k, 1, len(train_h))
    temperature = checks.real("temperature", temperature, above=0, finite=False)
    return (train_h, train[1]), (test_h, test[1]), k, temperature


def _scaled(h: Tensor) -> Tensor:
    """Return h with rows scaled so that their squares neither overflow nor vanish.

    A cosine does not see the scale.
    """
    h = h.detach()
    return over_largest(h, h.abs().amax(1, keepdim=True))


def _masked_length(h: Tensor, masks: Tensor) -> Tensor:
    """Return each row's length under each mask, and at last of the whole row: [N, M + 1]."""
    every = torch.cat([masks, masks.new_ones(1, masks.shape[1])])
    return (h.square() @ every.T.to(h.dtype)).sqrt()


def _subtractable(length: Tensor, masks: Tensor) -> Tensor:
    """Return for which masks [M] similarity is best found by subtracting what they drop.

    Where they drop the smaller part of the dimensions that is cheaper; and it is safe where no row
    loses so much of its length that the difference of two large numbers is left.
    """
    kept, whole = length[:, :-1], length[:, -1:]
    return (masks.double().mean(1) > 0.5) & (kept >= 0.3 * whole).all(0)


def _inverse(length: Tensor) -> Tensor:
    return torch.where(length > 0, 1 / length, 0)


def _kept(dim: int, share: float) -> int:
    return max(1, round(checks.real("share", share, above=0, most=1) * dim))


def _standardized(h: Tensor) -> Tensor:
    """Return columns of mean 0 and length 1 in the device's widest float, constant ones as 0."""
    rounding = 8 * torch.finfo(_result_type(h)).eps
    h = h.float() if h.device.type == "mps" else h.double()
    h = over_largest(h, h.abs().amax(0))
    centered = h - h.mean(0)
    length = centered.norm(dim=0)
    # what rounding of the given type leaves of a constant column whose largest entry is 1
    constant = length <= len(h) ** 0.5 * rounding
    return centered * torch.where(constant, 0, 1 / torch.where(constant, 1, length))


def _result_type(h: Tensor) -> torch.dtype:
    return torch.promote_types(h.dtype, torch.float32)


def _check_matrix(name: str, h: Tensor) -> None:
    if not checks.is_float(h) or h.dim() != 2 or len(h) < 2:
        raise ValueError(
            f"{name} must be a float tensor [N, D] of at least 2 rows, got {_described(h)}"
        )
    if h.shape[1] < 1:
        raise ValueError(f"{name} must have at least one column, got {_described(h)}")
    if not bool(h.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinities")


def _described(value) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.layout != torch.strided or value.is_complex():
        return checks.shown(value)
    negative = ", some negative" if value.dim() and bool((value < 0).any()) else ""
    return f"{value.dtype} of shape {list(value.shape)}{negative} on {value.device}"
