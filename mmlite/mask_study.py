"""How well a representation does without some of its dimensions.

The experiment that MetaMask sets out from (Li et al. 2022, section 1): read the representation
through many random masks that each leave some dimensions out, and see how often less is more.
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

    Example:
        >>> mmlite.top_mask(torch.tensor([0.1, 0.9, 0.5, 0.2]), share=0.5)
        tensor([False,  True,  True, False])
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
            "scores must be one finite number for each dimension, [D], got "
            f"{checks.described(scores)}"
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
    train_h: Tensor,
    train_labels: Tensor,
    test_h: Tensor,
    test_labels: Tensor,
    masks: Tensor,
    k: int = 20,
    temperature: float = 0.1,
) -> Tensor:
    """Return the kNN accuracy of the representation under each mask.

    A masked dimension is left out of the cosine similarity on both sides.

    Args:
        train_h: representations of the training images, float [N, D].
        train_labels: int64 [N].
        test_h: representations of the test images, float [M, D].
        test_labels: int64 [M].
        masks: bool [masks, D].
        k: how many neighbors vote, as for `knn_accuracy`.
        temperature: τ of their weights, as for `knn_accuracy`.

    Returns:
        float64 [masks], on the CPU.

    Raises:
        ValueError: shapes, types or values are wrong, or a mask keeps nothing.

    Example:
        >>> h, labels = torch.tensor([[1.0, 9.0], [-1.0, 9.0]]), torch.tensor([0, 1])
        >>> fresh = torch.tensor([[2.0, 9.0], [-2.0, 9.0]])
        >>> mmlite.mask_accuracy(h, labels, fresh, labels, torch.tensor([[True, False]]), k=1)
        tensor([1.], dtype=torch.float64)
    """
    train, test, k, temperature = _checked(
        train_h, train_labels, test_h, test_labels, k, temperature
    )
    dim = train[0].shape[1]
    checks.tensor("masks", masks, f"bool of shape [masks, {dim}]")
    if (
        masks.layout != torch.strided
        or masks.dtype != torch.bool
        or masks.dim() != 2
        or masks.shape[1] != dim
    ):
        raise ValueError(
            f"masks must be bool of shape [masks, {dim}], got {checks.described(masks)}"
        )
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
    train_h: Tensor,
    train_labels: Tensor,
    test_h: Tensor,
    test_labels: Tensor,
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
        train_h: representations of the training images, float [N, D].
        train_labels: int64 [N].
        test_h: representations of the test images, float [M, D].
        test_labels: int64 [M].
        share: share of the dimensions that each mask keeps, in (0, 1].
        masks: how many.
        seed: seeds the masks.
        k: how many neighbors vote, as for `knn_accuracy`.
        temperature: τ of their weights, as for `knn_accuracy`.

    Raises:
        ValueError: shapes, types or values are wrong.

    Example:
        >>> h, labels = torch.randn(60, 8), torch.arange(60) % 3
        >>> study = mmlite.random_mask_study(h, labels, h, labels, share=0.5, masks=10)
        >>> study.masks.sum(1).tolist()
        [4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    """
    train, test, k, temperature = _checked(
        train_h, train_labels, test_h, test_labels, k, temperature
    )
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

    Example:
        >>> h, labels = torch.randn(60, 8), torch.arange(60) % 3
        >>> study = mmlite.random_mask_study(h, labels, h, labels, masks=10)
        >>> mmlite.chance_shares(study, draws=100).shape
        torch.Size([100])
    """
    checks.instance("study", study, MaskStudy, "a MaskStudy, as random_mask_study returns")
    draws = checks.whole("draws", draws, 1)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    ahead = study.right.float() - study.whole_right.float()
    images = ahead.shape[1]
    drawn = torch.randint(images, (draws, images), generator=generator)
    often = torch.zeros(draws, images).scatter_add_(1, drawn, torch.ones(draws, images))
    # centering each image's advantage takes their sum from a draw's; of whole numbers, which
    # float32 holds exactly, so that a tie is a tie
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

    Example:
        >>> h, labels = torch.randn(60, 8), torch.arange(60) % 3
        >>> gain = mmlite.split_gain(mmlite.random_mask_study(h, labels, h, labels, masks=10))
        >>> gain.seen >= gain.fresh  # where it was chosen, luck helps
        True
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
    train_h: Tensor,
    train_labels: Tensor,
    test_h: Tensor,
    test_labels: Tensor,
    k: int,
    temperature: float,
) -> tuple[Labeled, Labeled, int, float]:
    """Return both in their common precision, or raise a ValueError that says what is wrong."""
    check_labeled("train", train_h, train_labels)
    check_labeled("test", test_h, test_labels)
    train_h, test_h = alike("test_h", train_h, test_h)
    k = checks.whole("k", k, 1, len(train_h))
    temperature = checks.real("temperature", temperature, above=0, finite=False)
    return (train_h, train_labels), (test_h, test_labels), k, temperature


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
