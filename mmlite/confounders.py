"""What each dimension of a representation holds, and how well one does without some of them.

Two shares of each dimension's variance: what the class explains and what a known nuisance
explains. And the experiment that MetaMask sets out from (Li et al. 2022, section 1): read the
representation through many random masks that each leave some dimensions out, and see how often
less is more.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmlite.evaluation import knn_accuracy

Labelled = tuple[Tensor, Tensor]  # representations float [N, D], labels int64 [N]


def class_information(h: Tensor, labels: Tensor) -> Tensor:
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
    if labels.dtype != torch.int64 or labels.shape != h.shape[:1] or bool((labels < 0).any()):
        raise ValueError(
            f"labels must be int64 of shape [{len(h)}] without negative values, one for each row "
            f"of h, got {labels.dtype} of shape {list(labels.shape)}"
        )
    centred = _standardised(h)
    member = torch.nn.functional.one_hot(labels).to(centred.dtype)  # [N, classes]
    count = member.sum(0).clamp(min=1)
    between = ((member.T @ centred).square() / count[:, None]).sum(0)
    return between.clamp(0, 1).to(_result_type(h))


def nuisance_information(h: Tensor, nuisance: Tensor) -> Tensor:
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
    if len(nuisance) != len(h):
        raise ValueError(
            f"nuisance must have one row for each of the {len(h)} rows of h, got {len(nuisance)}"
        )
    if len(h) <= nuisance.shape[1] + 1:
        raise ValueError(
            f"{len(h)} rows are too few to fit {nuisance.shape[1]} numbers and an intercept: "
            "every dimension would be explained perfectly"
        )
    directions, size, _ = torch.linalg.svd(_standardised(nuisance), full_matrices=False)
    # as torch.linalg.matrix_rank: what is smaller than this is rounding
    rounding = size.amax(0) * max(nuisance.shape) * torch.finfo(size.dtype).eps
    explained = ((directions * (size > rounding)).T @ _standardised(h)).square().sum(0)
    return explained.clamp(0, 1).to(_result_type(h))


def top_mask(information: Tensor, keep: float) -> Tensor:
    """Return the mask [D] that keeps the dimensions with the most information.

    With `class_information` it is the oracle that knows the labels; with minus
    `nuisance_information` the oracle that knows the confounder.

    Args:
        information: one number a dimension, [D].
        keep: share of the dimensions to keep, in (0, 1]; at least one dimension is kept.

    Returns:
        bool [D].
    """
    dim = len(information)
    mask = torch.zeros(dim, dtype=torch.bool, device=information.device)
    mask[information.argsort(descending=True, stable=True)[: _kept(dim, keep)]] = True
    return mask


def random_masks(dim: int, keep: float, masks: int, seed: int = 0) -> Tensor:
    """Return random masks bool [masks, D], each keeping the same number of dimensions.

    Args:
        dim: D.
        keep: share of the dimensions to keep, in (0, 1]; at least one dimension is kept.
        masks: how many.
        seed: seeds the draws.

    Raises:
        ValueError: an argument is out of its range.
    """
    if masks < 1:
        raise ValueError(f"masks must be at least 1, got {masks}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(masks, dim, generator=generator).argsort(1)
    return order < _kept(dim, keep)


def mask_accuracy(
    train: Labelled, test: Labelled, masks: Tensor, k: int = 20, temperature: float = 0.1
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
    dim = train[0].shape[1]
    if masks.dtype != torch.bool or masks.dim() != 2 or masks.shape[1] != dim:
        raise ValueError(
            f"masks must be bool of shape [M, {dim}], "
            f"got {masks.dtype} of shape {list(masks.shape)}"
        )
    if not bool(masks.any(1).all()):
        raise ValueError("a mask must keep at least one dimension")
    (train_h, train_labels), (test_h, test_labels) = train, test
    accuracies = []
    for mask in masks.to(train_h.device):
        kept = mask.nonzero()[:, 0]
        features = train_h[:, kept], train_labels, test_h[:, kept], test_labels
        accuracies.append(knn_accuracy(*features, k=k, temperature=temperature))
    return torch.tensor(accuracies, dtype=torch.float64)


class MaskStudy(NamedTuple):
    """What `random_mask_study` found.

    Attributes:
        masks: bool [M, D].
        accuracy: of the representation under each mask, [M].
        whole: of the whole representation.
    """

    masks: Tensor
    accuracy: Tensor
    whole: float

    @property
    def share_above(self) -> float:
        """The share of the masks that read better than the whole representation."""
        return float((self.accuracy > self.whole).double().mean())


def random_mask_study(
    train: Labelled,
    test: Labelled,
    keep: float = 0.8,
    masks: int = 1000,
    seed: int = 0,
    k: int = 20,
    temperature: float = 0.1,
) -> MaskStudy:
    """Return the kNN accuracy of a representation under many random masks, and of the whole.

    The evidence that MetaMask starts from (Li et al. 2022, figure 2): if every dimension helped,
    leaving some out would hardly ever help. The masks share their test images, so their
    accuracies are not independent: a binomial test on `share_above` would count one accident of
    the test set a thousand times. See lesson 03 for what to compare instead.

    Args:
        train, test: (h float [N, D], labels int64 [N]).
        keep: share of the dimensions that each mask keeps, in (0, 1].
        masks: how many.
        seed: seeds the masks.
        k, temperature: as for `knn_accuracy`.

    Raises:
        ValueError: shapes, types or values are wrong.
    """
    drawn = random_masks(train[0].shape[1], keep, masks, seed)
    whole = knn_accuracy(*train, *test, k=k, temperature=temperature)
    return MaskStudy(drawn, mask_accuracy(train, test, drawn, k, temperature), whole)


def _kept(dim: int, keep: float) -> int:
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], a share of the dimensions, got {keep}")
    return max(1, round(keep * dim))


def _standardised(h: Tensor) -> Tensor:
    """Return columns of mean 0 and length 1 in the widest float of the device, constant ones as 0."""
    rounding = 8 * torch.finfo(_result_type(h)).eps
    h = h.float() if h.device.type == "mps" else h.double()
    largest = h.abs().amax(0)
    h = h / torch.where(largest > 0, largest, 1)
    centred = h - h.mean(0)
    length = centred.norm(dim=0)
    # what rounding of the given type leaves of a constant column whose largest entry is 1
    constant = length <= len(h) ** 0.5 * rounding
    return centred * torch.where(constant, 0, 1 / torch.where(constant, 1, length))


def _result_type(h: Tensor) -> torch.dtype:
    return torch.promote_types(h.dtype, torch.float32)


def _check_matrix(name: str, h: Tensor) -> None:
    if not isinstance(h, Tensor) or h.dim() != 2 or not h.is_floating_point() or len(h) < 2:
        shape = f"{h.dtype} {list(h.shape)}" if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(f"{name} must be a float tensor [N, D] of at least 2 rows, got {shape}")
    if not bool(h.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinities")
