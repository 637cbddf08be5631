"""A mask in the basis of pairs: a confounder is a direction, so that is what is turned down.

Two images of a pair share what matters and differ in what does not, as the same garment before two
backgrounds. Where no axis of the representation is the confounder's own, a mask of the axes cannot
leave it out; these two first turn to directions in which it lies, and mask those.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmlite.contrastive import nt_xent
from mmlite.evaluation import check_features, frozen
from mmlite.support import checks
from mmlite.whitening import applied, fit_whitening, in_float64


class PairMask(NamedTuple):
    """A map to the basis of pairs, and a mask there: ((h − mean) @ basis) · entries.

    Attributes:
        mean: of the features it was fitted to, [D].
        basis: whitening, and then the eigenvectors of the covariance within pairs, [D, D]; what
            pairs share most comes first.
        entries: the mask, [D], from 0 to 1.
    """

    mean: Tensor
    basis: Tensor
    entries: Tensor

    @frozen
    def __call__(self, h: Tensor) -> Tensor:
        """Return features [N, D] in the basis of pairs, masked.

        Args:
            h: float [N, D], of the training images or of others.

        Raises:
            ValueError: h is of another width, type or device, or holds NaN or infinities.
        """
        return applied(h, self.mean, self.basis * self.entries)


@frozen
def fit_pair_mask(h: Tensor, other: Tensor, shrinkage: float = 0.01) -> PairMask:
    """Return a mask in the basis of pairs: each coordinate's correlation within pairs.

    Features are whitened (`fit_whitening`), W, and turned to the eigenvectors U of the covariance
    within pairs, E (a − b)(a − b)ᵀ of the whitened features a and b of a pair. A coordinate that
    both images of a pair share has correlation 1 there and is kept; one that the other image says
    nothing of is turned to 0, as one of negative correlation is. No label is needed, and what the
    images of a pair share is all that says what matters. Computed in float64.

    On the small encoder of lesson 04 and garments before planted backgrounds, views leaving colors
    alone, its kNN accuracy is 6.9 points above that of whitening within pairs (6.4 to 7.4, twenty
    seeds, `benchmarks/explore.py --confirm`). A mask of the axes by the same pairs gained little.

    Args:
        h: features of training images, float [N, D], N >= 2.
        other: of the other image of each pair, [N, D]; the same images before another background,
            say.
        shrinkage: of the covariance, as in `fit_whitening`.

    Returns:
        The map, to be applied to training and test features alike, in float32 (float64 for float64
        input).

    Raises:
        ValueError: shapes, types or values are wrong; no feature varies; or the features are the
            same in every pair, which says nothing of what to leave out.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> shared, a, b = torch.randn(3, 400, 1, generator=generator)
        >>> h, other = torch.cat([shared + a, a], 1), torch.cat([shared + b, b], 1)
        >>> mmlite.fit_pair_mask(h, other).entries.round(decimals=1).tolist()
        [1.0, 0.0]
    """
    mean, basis, a, b = _in_basis(h, other, shrinkage)
    return PairMask(mean, basis, _correlation(a, b).clamp(min=0).to(mean.dtype).to(mean.device))


@frozen
def learn_pair_mask(
    h: Tensor,
    other: Tensor,
    shrinkage: float = 0.01,
    *,
    temperature: float = 0.2,
    steps: int = 400,
    batch_size: int = 512,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> PairMask:
    """Return a mask in the basis of pairs whose entries σ(w) NT-Xent of the pairs has taught.

    The basis is that of `fit_pair_mask`; then w, from 0 on, goes by Adam down the loss of masked
    features, the two images of a pair as positives (Li et al. 2022 learn theirs of views, through a
    head and a step of the encoder; here the encoder stands still and there is no head that could
    absorb the mask).

    Where backgrounds go with the class in nine of ten training images and not afterwards, a probe
    behind it is 6.5 points above one that weighs the tenth up (6.1 to 7.0); with one label a class
    it is 4.9 points above whitening within pairs (3.9 to 5.9; twenty seeds,
    `benchmarks/explore.py --confirm`).

    Args:
        h: features of training images, float [N, D], N >= 2.
        other: of the other image of each pair, [N, D].
        shrinkage: of the covariance, as in `fit_whitening`.
        temperature: of NT-Xent.
        steps: how many batches.
        batch_size: pairs in a batch, at least 2; all of them if there are fewer.
        learning_rate: of Adam.
        seed: of the batches.

    Raises:
        ValueError: as `fit_pair_mask`, or a number is out of its range.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> shared, a, b = torch.randn(3, 400, 1, generator=generator)
        >>> h, other = torch.cat([shared + a, a], 1), torch.cat([shared + b, b], 1)
        >>> keep, drop = mmlite.learn_pair_mask(h, other, steps=100).entries.tolist()
        >>> keep > 2 * drop
        True
    """
    temperature = checks.real("temperature", temperature, above=0)
    steps, batch_size = checks.whole("steps", steps, 1), checks.whole("batch_size", batch_size, 2)
    learning_rate = checks.real("learning_rate", learning_rate, above=0)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    mean, basis, a, b = _in_basis(h, other, shrinkage)
    a, b = (one.to(mean.dtype).to(mean.device) for one in (a, b))
    w = torch.zeros_like(mean, requires_grad=True)
    optimizer = torch.optim.Adam([w], learning_rate)
    with torch.enable_grad():
        for _ in range(steps):
            batch = torch.randperm(len(a), generator=generator)[:batch_size].to(a.device)
            entries = w.sigmoid()
            loss = nt_xent(a[batch] * entries, b[batch] * entries, temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return PairMask(mean, basis, w.detach().sigmoid())


def _in_basis(h: Tensor, other: Tensor, shrinkage: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the mean, the basis, and the features of both images of each pair in it, float64."""
    for name, one in (("h", h), ("other", other)):
        check_features(name, one)
    if h.shape != other.shape or h.device != other.device:
        raise ValueError(
            "h and other must hold the two images of each pair, row by row, on one device; got "
            f"{checks.described(h)} and {checks.described(other)}"
        )
    white = fit_whitening(h, shrinkage)
    mean, matrix = (in_float64(part) for part in white)
    a, b = ((in_float64(one) - mean) @ matrix for one in (h, other))
    difference = a - b
    if not bool(difference.any()):
        raise ValueError(
            "h and other are the same in every pair: what to leave out is what a pair differs in; "
            "give features of the same images before other backgrounds, say"
        )
    _, directions = torch.linalg.eigh(difference.T @ difference / (2 * len(a)))
    basis = (matrix @ directions).to(white.mean.dtype).to(h.device)
    return white.mean, basis, a @ directions, b @ directions


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return each column's correlation within pairs, [D]; 0 for one that never varies."""
    a, b = a - a.mean(0), b - b.mean(0)
    spread = (a.square().mean(0) * b.square().mean(0)).sqrt()
    still = spread <= 0
    return torch.where(still, 0.0, (a * b).mean(0) / spread.masked_fill(still, 1))
