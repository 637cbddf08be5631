"""Redundancy reduction: dimensions that say the same thing, seen and driven apart.

The loss of Barlow Twins looks at projections column by column where NT-Xent looks row by row: each
dimension should agree with itself across two views and with no other dimension. Beside it, the
numbers that say how many dimensions a representation really uses.
"""

import torch
from torch import Tensor

from mmlite import distributed
from mmlite.contrastive import check_finite, check_pair
from mmlite.support import checks
from mmlite.support.scaling import over_largest


def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    r"""Return the correlation of every dimension of one view with every dimension of the other.

    C_{ij} = Σ_b z1_{bi} z2_{bj} / ( √(Σ_b z1_{bi}²) √(Σ_b z2_{bj}²) ) with both centered over the
    batch (Zbontar et al. 2021, equation 2). A dimension that is constant over the batch has
    correlation 0 with everything, and no gradient. Computed in float32 (float64 for float64 input).
    Within `mmlite.distributed.sharded_batch` the sums run over all processes' images.

    Args:
        z1: projections of the first views, float [N, P], N >= 2.
        z2: of the second views; row i of both is image i.

    Returns:
        C [P, P], entries in −1..1.

    Raises:
        ValueError: shapes or types are wrong. On a CPU, outside torch.compile and vmap, also NaN
            and infinities.

    Example:
        >>> z = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        >>> mmlite.cross_correlation(z, z).round(decimals=4)  # its two dimensions are copies
        tensor([[1., 1.],
                [1., 1.]])
    """
    check_pair("cross_correlation", z1, z2)
    z1, z2 = _of_one_type(z1, z2)
    with torch.autocast(z1.device.type, enabled=False):
        return distributed.all_reduce_sum(
            _standard_columns(z1, "z1").T @ _standard_columns(z2, "z2")
        )


def barlow_twins(z1: Tensor, z2: Tensor, off_diagonal: float = 5e-3) -> Tensor:
    r"""Return the Barlow Twins loss Σ_i (1 − C_{ii})² + λ Σ_{i≠j} C_{ij}².

    (Zbontar et al. 2021, equation 1.) With fewer images than dimensions C is never formed:
    ‖U1ᵀ U2‖² = ⟨U1 U1ᵀ, U2 U2ᵀ⟩ sums the same squares over [N, N] instead of [P, P].

    Args:
        z1: projections of the first views, float [N, P], N >= 2.
        z2: of the second views; row i of both is image i.
        off_diagonal: λ >= 0, the weight of the terms between different dimensions.

    Returns:
        The loss, a scalar >= 0 in float32 (float64 for float64 input).

    Raises:
        ValueError: as `cross_correlation`, or `off_diagonal` is negative or not finite.

    Example:
        >>> z = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        >>> round(float(mmlite.barlow_twins(z, z, off_diagonal=0.1)), 4)  # two copies, 1² each
        0.2
    """
    check_pair("barlow_twins", z1, z2)
    off_diagonal = checks.real("off_diagonal", off_diagonal, least=0)
    n, dim = z1.shape
    z1, z2 = _of_one_type(z1, z2)
    with torch.autocast(z1.device.type, enabled=False):
        u1, u2 = _standard_columns(z1, "z1"), _standard_columns(z2, "z2")
        own = distributed.all_reduce_sum((u1 * u2).sum(0))  # the diagonal of C
        if n < dim and not distributed.is_sharded():
            squares = (u1 @ u1.T * (u2 @ u2.T)).sum()
        else:
            squares = distributed.all_reduce_sum(u1.T @ u2).square().sum()
        # rounding can leave the difference a hair below 0
        others = (squares - own.square().sum()).clamp(min=0)
        return (1 - own).square().sum() + off_diagonal * others


@torch.no_grad()
def redundancy(h: Tensor) -> float:
    """Return how much dimensions repeat each other: the mean squared correlation of two of them.

    The mass off the diagonal of the representation's own correlation matrix, over the pairs of
    different dimensions that vary at all: 0 when all are uncorrelated, 1 when all are copies.
    Sampling N images from uncorrelated dimensions leaves about 1 / (N − 1).

    Args:
        h: representations, float [N, D], N >= 2.

    Raises:
        ValueError: as `cross_correlation`.
    """
    check_pair("redundancy", h, h, labels=("h", "h"))
    h = h.detach()
    u = _standard_columns(h, "h")
    varying = int((u != 0).any(0).sum())
    if varying < 2:
        return 0.0
    correlation = u.T @ u
    off = correlation.fill_diagonal_(0).square().sum()
    return float(off) / (varying * (varying - 1))


def effective_rank(h: Tensor, center: bool = False) -> float:
    """Return the effective rank of a matrix: exp of the entropy of its normalized singular values.

    exp(−Σ p_k log p_k) with p = σ / Σσ (Roy & Vetterli 2007, definition 1): D when all singular
    values are equal, 1 when only one is not 0; the zero matrix has 0.

    Args:
        h: float [N, D].
        center: subtract each dimension's mean first. A representation whose entries are all
            positive has one large singular value that is its mean, and no variation.

    Returns:
        A number between 1 and min(N, D), or 0.

    Raises:
        ValueError: h is not a float matrix, or on a CPU holds NaN or infinities.

    Example:
        >>> round(mmlite.effective_rank(torch.eye(4)), 3)
        4.0
    """
    p = _spectrum("effective_rank", "h", h, checks.flag("center", center))
    return float(torch.special.entr(p).sum().exp()) if bool(p.any()) else 0.0


def rankme(z: Tensor, epsilon: float = 1e-7) -> float:
    """Return RankMe: the effective rank with p_k = σ_k / Σσ + ε (Garrido et al. 2023, equation 1).

    Args:
        z: float [N, P], not centered; the paper uses 25,600 images.
        epsilon: ε >= 0; for P = min(N, P) singular values it adds little as long as ε P ≪ 1.

    Raises:
        ValueError: as `effective_rank`, or ε is negative or not finite.

    Example:
        >>> round(mmlite.rankme(torch.ones(8, 4)), 3)  # all rows alike: one direction
        1.0
    """
    epsilon = checks.real("epsilon", epsilon, least=0)
    p = _spectrum("rankme", "z", z, center=False)
    return float(torch.special.entr(p + epsilon).sum().exp()) if bool(p.any()) else 0.0


def _of_one_type(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(z1.dtype, z2.dtype)
    return z1.to(dtype), z2.to(dtype)


def _standard_columns(z: Tensor, name: str) -> Tensor:
    """Return z with columns of mean 0 and length 1 over the batch, constant columns as 0."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    check_finite(z.detach().abs().amax(1, keepdim=True), name)
    # neither the correlation nor its gradient sees the factor
    z = over_largest(z, distributed.all_reduce_max(z.detach().abs().amax(0)))
    count = distributed.global_size(len(z))
    centered = z - (
        distributed.all_reduce_sum(z.sum(0)) / count if distributed.is_sharded() else z.mean(0)
    )
    squared = distributed.all_reduce_sum(centered.square().sum(0))
    # what rounding leaves of a constant column whose largest entry is 1
    constant = squared.detach() <= count * (8 * torch.finfo(z.dtype).eps) ** 2
    return centered * torch.where(constant, 0, torch.where(constant, 1, squared).rsqrt())


@torch.no_grad()
def _spectrum(function: str, name: str, h: Tensor, center: bool) -> Tensor:
    """Return the singular values of h in the device's widest float, summing to 1."""
    check_pair(function, h, h, least=1, labels=(name, name))
    h = h.detach()
    check_finite(h.abs().amax(1, keepdim=True), name)
    rounding = 8 * torch.finfo(torch.promote_types(h.dtype, torch.float32)).eps
    h = h.float() if h.device.type == "mps" else h.double()
    h = over_largest(h, h.abs().amax())  # shares do not see it
    if center:
        column, h = h.abs().amax(0), h - h.mean(0)
        # what rounding leaves of a constant column
        h = torch.where(h.norm(dim=0) <= len(h) ** 0.5 * rounding * column, 0, h)
    values = torch.linalg.svdvals(h)
    total = values.sum()
    return values / torch.where(total > 0, total, 1)
