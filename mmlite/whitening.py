"""Whitening: a representation turned and stretched until no direction is louder than another.

A reader that goes by distances or cosines weighs each direction of a representation by its
variance. Whitening divides the covariance out, in whatever directions it lies; standardizing does
so for the axes alone. Neither needs a label.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmlite.evaluation import check_features, frozen
from mmlite.support import checks
from mmlite.support.scaling import over_largest


class Whitening(NamedTuple):
    """An affine map that whitens what it was fitted to: `whitening(h)` is (h − mean) @ matrix.

    Attributes:
        mean: of the features it was fitted to, [D].
        matrix: symmetric, [D, D]; (Σ_s)^(−1/2) with Σ_s their shrunk covariance.
    """

    mean: Tensor
    matrix: Tensor

    @frozen
    def __call__(self, h: Tensor) -> Tensor:
        """Return features [N, D] whitened by the covariance of those of the fit.

        Args:
            h: float [N, D], of the training images or of others.

        Raises:
            ValueError: h is of another width, type or device, or holds NaN or infinities.
        """
        return applied(h, self.mean, self.matrix)


def applied(h: Tensor, mean: Tensor, matrix: Tensor) -> Tensor:
    """Return (h − mean) @ matrix of features h [N, D] like those that a map was fitted to.

    Raises:
        ValueError: h is of another width, type or device, or holds NaN or infinities.
    """
    check_features("h", h)
    if h.shape[1] != len(mean) or h.device != mean.device:
        raise ValueError(
            f"h must be float [N, {len(mean)}] on {mean.device}, as the features that the map was "
            f"fitted to, got {checks.described(h)}"
        )
    dtype = torch.promote_types(mean.dtype, h.dtype)
    return (h.to(dtype) - mean.to(dtype)) @ matrix.to(dtype)


def in_float64(values: Tensor) -> Tensor:
    """Return values in float64, on the CPU if they lie on MPS, which has no float64."""
    return (values.cpu() if values.device.type == "mps" else values).double()


@frozen
def fit_whitening(train_h: Tensor, shrinkage: float = 0.01) -> Whitening:
    r"""Return the map that whitens features by their covariance, with as little change as can be.

    The covariance Σ is shrunk to Σ_s = (1 − s) Σ + s (tr Σ / D) I, so that directions of hardly
    any variance, which are noise, are not blown up without bound. Of all matrices W with
    Wᵀ Σ_s W = I the symmetric one, Σ_s^(−1/2), changes the features least (Kessy, Lewin & Strimmer
    2018, ZCA), so that dimension i of the result is still mostly dimension i of h. Cosines and
    distances are the same for every such W. Computed in float64.

    Args:
        train_h: features of the training images, float [N, D], N >= 2.
        shrinkage: s, from 0 (the covariance as it is) to 1 (a common factor alone).

    Returns:
        The map, to be applied to training and test features alike, in float32 (float64 for float64
        input).

    Raises:
        ValueError: shapes, types or values are wrong; no feature varies; or s is 0, or so small
            that it is lost in rounding, and the features do not vary in every direction.

    Example:
        >>> h = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
        >>> white = mmlite.fit_whitening(h, shrinkage=0.0)
        >>> torch.cov(white(h).T, correction=0).round(decimals=3) + 0
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """
    check_features("train_h", train_h)
    shrinkage = checks.real("shrinkage", shrinkage, least=0, most=1)
    if len(train_h) < 2:
        raise ValueError(f"train_h must have at least 2 rows, got {checks.described(train_h)}")
    dtype = torch.promote_types(train_h.dtype, torch.float32)
    h = in_float64(train_h)
    largest = h.abs().amax()
    scaled = over_largest(h, largest)
    mean = scaled.mean(0)
    centered = scaled - mean
    variance, directions = torch.linalg.eigh(centered.T @ centered / len(h))
    variance = variance.clamp(min=0)
    rounding = 8 * torch.finfo(dtype).eps  # of the features as they were given
    if float(variance.amax()) <= rounding**2:
        raise ValueError("train_h is the same for every image: there is no variance to divide by")
    shrunk = (1 - shrinkage) * variance + shrinkage * variance.mean()
    flat = int((shrunk <= rounding**2 * len(variance) * variance.amax()).sum())
    if flat:
        raise ValueError(
            f"train_h does not vary in {flat} of its {len(variance)} directions, which whitening "
            f"would divide by 0: give a greater shrinkage than {shrinkage:g}, for instance 0.01"
        )
    matrix = (directions * shrunk.rsqrt()) @ directions.T / largest
    return Whitening(*(part.to(dtype).to(train_h.device) for part in (mean * largest, matrix)))
