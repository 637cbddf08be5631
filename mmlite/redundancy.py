"""Redundancy reduction: dimensions that say the same thing, seen and driven apart.

The loss of Barlow Twins looks at projections column by column where NT-Xent looks row by row: each
dimension should agree with itself across two views and with no other dimension. Beside it, the
numbers that say how many dimensions a representation really uses.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from mmlite import distributed
from mmlite.contrastive import check_finite, check_pair
from mmlite.support import checks
from mmlite.support.autocast import unrounded
from mmlite.support.scaling import over_largest

PIECE = 2000  # rows whose squares are summed at a time: in float64 they stay in a cache


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
    with unrounded(z1.device):
        u1, u2 = _standard_columns(z1, "z1")[0], _standard_columns(z2, "z2")[0]
        return distributed.all_reduce_sum(u1.T @ u2)


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
    with unrounded(z1.device):
        if n >= dim and (columns := _Columns.of(z1, z2)) is not None:
            return _BarlowTwins.apply(z1, z2, off_diagonal, columns)
        u1, u2 = _standard_columns(z1, "z1")[0], _standard_columns(z2, "z2")[0]
        own = distributed.all_reduce_sum((u1 * u2).sum(0))  # the diagonal of C
        if n < dim and not distributed.is_sharded():
            squares = (u1 @ u1.T * (u2 @ u2.T)).sum()
        else:
            squares = distributed.all_reduce_sum(u1.T @ u2).square().sum()
        return _loss_of(own, squares, off_diagonal)


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
    u, _ = _standard_columns(h, "h")
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
    """Return both in the wider of their types, at least float32."""
    if z1.dtype == z2.dtype == torch.float32:
        return z1, z2
    dtype = torch.promote_types(torch.promote_types(z1.dtype, z2.dtype), torch.float32)
    return z1.to(dtype), z2.to(dtype)


def _standard_columns(z: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return z with columns of mean 0 and length 1 over the batch, and one over their lengths [P].

    A constant column is 0, and so is its number.
    """
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    check_finite(z.detach().abs().amax(1, keepdim=True), name)
    largest = distributed.all_reduce_max(z.detach().abs().amax(0))
    # neither the correlation nor its gradient sees the factor
    z = over_largest(z, largest)
    count = distributed.global_size(len(z))
    centered = z - (
        distributed.all_reduce_sum(z.sum(0)) / count if distributed.is_sharded() else z.mean(0)
    )
    squared = distributed.all_reduce_sum(centered.square().sum(0))
    # what rounding leaves of a constant column whose largest entry is 1
    constant = squared.detach() <= count * (8 * torch.finfo(z.dtype).eps) ** 2
    over = torch.where(constant, 0, torch.where(constant, 1, squared).rsqrt())
    return centered * over, over_largest(over, largest)


class _BarlowTwins(torch.autograd.Function):
    """The loss of columns that need no care, and its gradient by a formula.

    With u the columns of mean 0 and length 1, ℓ their lengths before and G = ∂L/∂C the gradient is
    ∂L/∂z1 = (u2 Gᵀ − u1 Σ_j G_{ij} C_{ij}) / ℓ1, and alike for z2: centering again would change
    nothing. At small sizes starting an operation costs most, so they are few; at large ones new
    memory does, so they work in place. Where it is differentiated once more the formula is computed
    from z1 and z2.
    """

    @staticmethod
    def forward(ctx: Any, z1: Tensor, z2: Tensor, off_diagonal: float, columns: "_Columns"):
        u1, u2 = columns.standard.unbind()
        correlation = u1.T @ u2
        ctx.save_for_backward(z1, z2)
        ctx.off_diagonal, ctx.columns, ctx.correlation = off_diagonal, columns, correlation
        return _loss_of(correlation.diagonal(), correlation.square().sum(), off_diagonal)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        if torch.is_grad_enabled():
            z1, z2 = ctx.saved_tensors
            of_z1, of_z2 = _barlow_gradient(z1, z2, ctx.off_diagonal)
            return upstream * of_z1, upstream * of_z2, None, None
        u1, u2 = ctx.columns.standard.unbind()
        over1, over2 = (ctx.columns.over * (2 * upstream)).unbind()
        half = ctx.correlation * ctx.off_diagonal  # of G
        half.diagonal().copy_(ctx.correlation.diagonal()).sub_(1)
        inner = ctx.correlation * half
        of_z1 = (u2 @ (half.T * over1)).addcmul_(u1, inner.sum(1) * over1, value=-1)
        of_z2 = (u1 @ (half * over2)).addcmul_(u2, inner.sum(0) * over2, value=-1)
        return of_z1, of_z2, None, None


class _Columns(NamedTuple):
    """Both views' columns with mean 0 and length 1 [2, N, P], and one over their lengths [2, P]."""

    standard: Tensor
    over: Tensor

    @classmethod
    def of(cls, z1: Tensor, z2: Tensor) -> "_Columns | None":
        """Return them for z1 and z2 [N, P]; None for columns that need care.

        That is those that are constant up to rounding, or so long or short that powers of their
        length leave the floats, and those of NaN; all of them where looking is not free (on a GPU),
        and where the loss is compiled, shared by processes, or differentiated in forward mode or by
        torch.func.
        """
        if z1.device.type != "cpu" or torch.compiler.is_compiling() or distributed.is_sharded():
            return None
        if any(forward_ad.unpack_dual(z).tangent is not None for z in (z1, z2)):
            return None
        with torch.no_grad():
            both = torch.stack([z1, z2])
            mean = both.mean(1, keepdim=True)
            squared = both.sub_(mean).square().sum(1, keepdim=True)
            try:
                z1.data_ptr(), z2.data_ptr()  # what torch.func has wrapped has none
                least, most = (float(value) for value in squared.aminmax())
                farthest = max(abs(float(value)) for value in mean.aminmax())
            except RuntimeError:
                return None
            rounding = (16 * torch.finfo(both.dtype).eps * farthest) ** 2 * len(z1)
            if not (max(rounding, 1e-12) < least and most < 1e12):
                return None
            over = squared.rsqrt_()
            return cls(both.mul_(over), over.squeeze(1))


def _loss_of(own: Tensor, squares: Tensor, off_diagonal: float) -> Tensor:
    """Return equation 1 of C's diagonal and the sum of all its squares."""
    # rounding can leave the difference a hair below 0
    others = (squares - own.dot(own)).clamp(min=0)
    short = 1 - own
    return short.dot(short) + off_diagonal * others


def _barlow_gradient(z1: Tensor, z2: Tensor, off_diagonal: float) -> tuple[Tensor, Tensor]:
    """Return the loss's gradient in operations that can be differentiated."""
    (u1, over1), (u2, over2) = _standard_columns(z1, "z1"), _standard_columns(z2, "z2")
    correlation = u1.T @ u2
    own = correlation.diagonal()
    slope = 2 * off_diagonal * (correlation - own.diag()) + (2 * (own - 1)).diag()
    inner = slope * correlation
    return (u2 @ slope.T - u1 * inner.sum(1)) * over1, (u1 @ slope - u2 * inner.sum(0)) * over2


@torch.no_grad()
def _spectrum(function: str, name: str, h: Tensor, center: bool) -> Tensor:
    """Return the singular values of h in the device's widest float, summing to 1."""
    check_pair(function, h, h, least=1, labels=(name, name))
    h = h.detach()
    if not bool(h.sum().isfinite()):  # which spares a copy of h, and may overflow
        check_finite(h.abs().amax(1, keepdim=True), name)
    exact = h.dtype == torch.float64 or h.device.type == "mps"
    rounding = 8 * torch.finfo(torch.promote_types(h.dtype, torch.float32)).eps
    if exact:  # squares of what was float32 neither overflow nor vanish
        h = over_largest(h if h.dtype == torch.float64 else h.float(), h.abs().amax())
    if center:
        h = h if exact else h.double()
        column, h = h.abs().amax(0), h - h.mean(0)
        # what rounding leaves of a constant column
        h = torch.where(h.norm(dim=0) <= len(h) ** 0.5 * rounding * column, 0, h)
    values = torch.linalg.svdvals(h) if exact else _roots(h)
    total = values.sum()
    return values / torch.where(total > 0, total, 1)


def _roots(h: Tensor) -> Tensor:
    """Return the singular values of h [N, D], float64, by its squares: less than half the work.

    What is lost among squares, below 2e-8 √D of the largest value, float32 had rounded away before.
    It counts as 0.
    """
    h = h if len(h) >= h.shape[1] else h.T
    size = h.shape[1]
    strip = max(32, size // 8)
    squares = h.new_zeros(size, size, dtype=torch.float64)
    memory = squares.new_empty(min(len(h), PIECE), size)  # new for each piece, it costs a tenth
    for piece in h.split(PIECE):
        # halves are a batch, whose products are given to a thread each
        halves = memory[: len(piece)].copy_(piece).unflatten(0, (2 - len(piece) % 2, -1))
        for start in range(0, size, strip):  # a square matrix's upper half is all that is read
            part = halves[:, :, start : start + strip].mT @ halves[:, :, start:]
            squares[start : start + strip, start:] += part.sum(0)
    values = torch.linalg.eigvalsh(squares, UPLO="U").flip(0)
    lost = size * torch.finfo(values.dtype).eps * values[0]
    return torch.where(values > lost, values, 0).sqrt()
