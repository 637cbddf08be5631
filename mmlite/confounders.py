"""What each dimension of a representation holds.

Two shares of its variance: what the class explains, and what a known nuisance explains.
"""

import torch
from torch import Tensor

from mmlite.evaluation import frozen
from mmlite.support import checks
from mmlite.support.scaling import over_largest


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

    Example:
        >>> h = torch.tensor([[0.0], [2.0], [4.0], [6.0]])
        >>> mmlite.class_r2(h, torch.tensor([0, 0, 1, 1]))  # 16 of 20 between the classes
        tensor([0.8000])
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
            f"of h, got {checks.described(labels)}"
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

    Example:
        >>> tint = torch.tensor([[0.0], [1.0], [2.0]])
        >>> h = torch.cat([2 * tint + 1, torch.tensor([[1.0], [0.0], [1.0]])], 1)
        >>> mmlite.nuisance_r2(h, tint).round(decimals=4) + 0  # of the second it says nothing
        tensor([1., 0.])
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
            f"{name} must be a float tensor [N, D] of at least 2 rows, got {checks.described(h)}"
        )
    if h.shape[1] < 1:
        raise ValueError(f"{name} must have at least one column, got {checks.described(h)}")
    if not bool(h.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinities")
