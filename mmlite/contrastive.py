"""The contrastive loss NT-Xent, and the two properties it trades: alignment and uniformity.

Two views of one image should land close together on the unit sphere (alignment), the images should
spread over it (uniformity). NT-Xent asks for both at once: each view must pick its partner out of
all other views of the batch, by a softmax over cosine similarities.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmlite import distributed
from mmlite.support import checks
from mmlite.support.autocast import unrounded

# A shorter vector counts as one without direction: a loss refuses it where it can see it, and
# elsewhere the gradient stays below 1e7 instead of growing without bound.
SHORTEST = 1e-7
PAIRS_AT_ONCE = 2**20  # exponents of `uniformity` held at once: 4 MB stay in a processor's cache


def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.2) -> Tensor:
    r"""Return the NT-Xent loss of two views (SimCLR, Chen et al. 2020, equation 1).

    With s_{ij} the cosine similarity of rows i and j of [z1; z2] and p(i) the row that holds the
    other view of i's image, it is the mean over all 2N rows of

        −log( exp(s_{i,p(i)} / τ) / Σ_{j ≠ i} exp(s_{ij} / τ) ).

    Computed in float32 (float64 for float64 input), also under autocast, through a log-softmax, so
    it neither overflows at a small τ nor loses half-precision input. Within
    `mmlite.distributed.sharded_batch` it is the loss of all processes' images together.

    Args:
        z1: projections of the first views, float [N, P], N >= 2.
        z2: of the second views; row i of both is image i.
        temperature: τ > 0.

    Returns:
        The loss, a scalar >= 0 in float32 (float64 for float64 input).

    Raises:
        ValueError: shapes, types or the temperature are wrong. On a CPU, outside torch.compile
            and vmap, also NaN, infinities and vectors without length; on a GPU the check would
            have to wait for it, and `mmlite.fit` stops at a loss that is not finite.

    Example:
        >>> z = torch.eye(2)  # two images whose views agree, and have nothing in common
        >>> float(mmlite.nt_xent(z, z, temperature=1.0))  # log(e + 2) - 1
        0.5514...
    """
    check_pair("nt_xent", z1, z2)
    temperature = check_temperature(temperature)
    n = len(z1)
    if distributed.is_sharded():
        return _nt_xent_of_all(z1, z2, temperature)
    with unrounded(z1.device):
        # the root of τ in both factors spares a pass over their product
        z = torch.cat([_unit_rows(z1, "z1"), _unit_rows(z2, "z2")]) / temperature**0.5
        similarity = z @ z.T  # [2N, 2N]
        similarity.diagonal().fill_(-torch.inf)  # a view never competes with itself
        partner = torch.arange(2 * n, device=z.device).roll(n)
        return F.cross_entropy(similarity, partner)


def _nt_xent_of_all(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Return the loss over the images of all processes: each process's rows against all rows."""
    count, start = distributed.global_size(len(z1)), distributed.shard_start()
    root = temperature**0.5
    with unrounded(z1.device):
        u1, u2 = _unit_rows(z1, "z1") / root, _unit_rows(z2, "z2") / root
        everyone = torch.cat(
            [distributed.all_gather_rows(u1), distributed.all_gather_rows(u2)]
        )  # [2N, P]
        similarity = torch.cat([u1, u2]) @ everyone.T  # [2n, 2N]
        own = start + torch.arange(len(z1), device=z1.device)
        own = torch.cat([own, own + count])
        similarity = similarity.scatter(1, own[:, None], -torch.inf)
        partner = (own + count) % (2 * count)
        of_own = F.cross_entropy(similarity, partner, reduction="sum")
        return distributed.all_reduce_sum(of_own) / (2 * count)


def alignment(z1: Tensor, z2: Tensor, alpha: float = 2.0) -> Tensor:
    """Return how far apart two views lie: the mean of ‖u1 − u2‖^α over unit vectors u = z / ‖z‖.

    (Wang & Isola 2020, equation for ℒ_align in section 4.1.) 0 when all views agree.

    Args:
        z1: projections of the first views, float [N, P].
        z2: of the second views; row i of both is image i.
        alpha: the distance's exponent, > 0.

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: as `nt_xent`, or alpha <= 0.

    Example:
        >>> float(mmlite.alignment(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])))
        2.0
    """
    check_pair("alignment", z1, z2, least=1)
    alpha = checks.real("alpha", alpha, above=0)
    difference = _unit_rows(z1, "z1") - _unit_rows(z2, "z2")
    squared = difference.square().sum(1)
    apart = squared > 0  # of views that agree, a power below 1 has no derivative; 0 is taken
    return torch.where(apart, torch.where(apart, squared, 1).pow(alpha / 2), 0).mean()


def uniformity(z: Tensor, t: float = 2.0) -> Tensor:
    """Return how evenly vectors spread over the sphere: log mean exp(−t ‖u_i − u_j‖²), i < j.

    (Wang & Isola 2020, equation for ℒ_uniform in section 4.1.) 0 when all vectors point one way,
    lower when they spread. Works through the N² pairs in pieces, forwards and backwards, and so
    needs a few times 4 MB beside z; a second derivative, and torch.compile, hold all pairs.

    Args:
        z: float [N, P], N >= 2.
        t: the kernel's sharpness, > 0.

    Returns:
        A scalar <= 0.

    Raises:
        ValueError: as `nt_xent`, or t <= 0.

    Example:
        >>> float(mmlite.uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])))  # log(exp(-2 * 4))
        -8.0
    """
    check_pair("uniformity", z, z, labels=("z", "z"))
    t = checks.real("t", t, above=0)
    n = len(z)
    with unrounded(z.device):
        u = _unit_rows(z, "z")
        if n * n <= PAIRS_AT_ONCE or torch.compiler.is_compiling():
            total = _exponents(u, u, 0, t).flatten().logsumexp(0)
        else:
            total = _LogKernel.apply(u, t)
        return total - math.log(n * (n - 1))


def _exponents(rows: Tensor, u: Tensor, start: int, t: float) -> Tensor:
    """Return −t ‖u_i − u_j‖² [n, N] of unit vectors, i from `start` on; −inf where i = j."""
    exponents = (rows @ u.T).sub_(1).mul_(2 * t)
    exponents.diagonal(start).fill_(-torch.inf)
    return exponents


class _LogKernel(torch.autograd.Function):
    """log Σ_{i≠j} exp(−t ‖u_i − u_j‖²) of unit vectors u [N, P], never with all pairs at once.

    A derivative computes the pairs anew: with the share W_ij = exp(−t ‖u_i − u_j‖² − log Σ), which
    is symmetric, the gradient is 4 t W u. The backward pass is written in operations that can be
    differentiated, so there is a second one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, t: float) -> Tensor:
        pieces = [_exponents(rows, u, start, t).logsumexp((0, 1)) for start, rows in _pieces(u)]
        return torch.stack(pieces).logsumexp(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        u, ctx.t = inputs
        ctx.save_for_backward(u, output)
        ctx.save_for_forward(u, output)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        u, total = ctx.saved_tensors
        return upstream * _kernel_gradient(u, total, ctx.t), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        u, total = ctx.saved_tensors
        return (tangent * _kernel_gradient(u, total, ctx.t)).sum()


def _kernel_gradient(u: Tensor, total: Tensor, t: float) -> Tensor:
    with unrounded(u.device):
        shares = ((_exponents(rows, u, start, t) - total).exp() @ u for start, rows in _pieces(u))
        return 4 * t * torch.cat(list(shares))


def _pieces(u: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Return u's rows in pieces of at most `PAIRS_AT_ONCE` pairs, and where each begins."""
    rows = max(1, PAIRS_AT_ONCE // len(u))
    return zip(range(0, len(u), rows), u.split(rows), strict=True)


def check_pair(
    name: str,
    z1: Tensor,
    z2: Tensor,
    least: int = 2,
    labels: tuple[str, str] = ("z1", "z2"),
) -> None:
    """Raise a ValueError unless z1 and z2 are two float [N, P] on one device, N >= least.

    The message calls them by their `labels`.
    """
    if not (checks.is_float(z1) and checks.is_float(z2)):
        label, z = (labels[1], z2) if checks.is_float(z1) else (labels[0], z1)
        kind = type(z).__name__
        if isinstance(z, Tensor):
            kind = f"{z.dtype}{'' if z.layout == torch.strided else f', {z.layout}'}"
        raise ValueError(f"{name} takes floating-point tensors, but {label} is {kind}")
    shape = z1.shape
    if len(shape) != 2 or shape != z2.shape or shape[1] < 1:
        if z1 is z2:
            raise ValueError(f"{labels[0]} must be a matrix, got the shape {list(shape)}")
        raise ValueError(
            f"{name} takes {labels[0]} and {labels[1]} of one shape [N, P], "
            f"got {list(shape)} and {list(z2.shape)}"
        )
    if distributed.global_size(shape[0]) < least:
        raise ValueError(
            f"{name} needs at least {least} images to compare, got N = {shape[0]}; "
            "is the last batch of an epoch smaller than the others?"
        )
    if z1.device != z2.device:
        raise ValueError(f"{name} got z1 on {z1.device} and z2 on {z2.device}; move one of them")


def check_temperature(temperature: float) -> float:
    """Return τ as a float, or raise a ValueError."""
    # beyond 1e-30, similarity / τ leaves float32
    return checks.real("temperature", temperature, least=1e-30)


def _unit_rows(z: Tensor, name: str) -> Tensor:
    """Return z / ‖z‖ by rows in at least float32; check the values where that costs nothing."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    largest = z.detach().abs().amax(1, keepdim=True)
    # Cosines do not change with length, so a constant factor against overflow keeps the gradient.
    z = z / largest.clamp(min=1)
    squared = z.square().sum(1, keepdim=True)
    _check_values(largest, squared.detach(), name)
    return z * squared.clamp(min=SHORTEST**2).rsqrt()


class NotFiniteError(ValueError):
    """A projection or representation holds NaN or an infinity."""


def check_finite(largest: Tensor, name: str) -> bool:
    """Raise a NotFiniteError if a row's largest entry [N, 1] is not finite, where that is free.

    Return whether it was checked: on a GPU that would wait for the device, and inside
    torch.compile and vmap a value cannot be read.
    """
    if torch.compiler.is_compiling() or largest.device.type != "cpu":
        return False
    try:
        fine = bool(torch.isfinite(largest).all())
    except RuntimeError:  # vmap: these values stand for many
        return False
    if not fine:
        row = int((~torch.isfinite(largest)).flatten().nonzero()[0])
        raise NotFiniteError(
            f"row {row} of {name} holds NaN or an infinity; look for a learning rate that is too "
            "high or a division by zero before it"
        )
    return True


def _check_values(largest: Tensor, squared: Tensor, name: str) -> None:
    """Raise for rows that have no direction: NaN, infinite or zero ones, where that is free."""
    if check_finite(largest, name) and bool((squared <= SHORTEST**2).any()):
        row = int((squared.flatten() <= SHORTEST**2).nonzero()[0])
        raise ValueError(
            f"row {row} of {name} is a zero vector (shorter than {SHORTEST:g}), so it has no "
            "direction to compare; does the last layer of the head end in a ReLU, or is an input "
            "empty?"
        )
