"""The dimensional mask, and the loss seen through it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmlite.contrastive import nt_xent

Views = tuple[Tensor, Tensor]
Loss = Callable[[Any, Any], Tensor]


class DimensionalMask(nn.Module):
    """A weight in (0, 1) for each dimension of a representation: h ⊙ σ(w) (Li et al. 2022, fig. 3).

    Args:
        dim: D.
        start: every logit's first value; 0 gives a mask of 1/2 everywhere.

    Attributes:
        w: the logits, float [D].

    Raises:
        ValueError: dim is below 1.
    """

    def __init__(self, dim: int, start: float = 0.0) -> None:
        super().__init__()
        if not isinstance(dim, int) or dim < 1:
            raise ValueError(f"dim must be a whole number of at least 1, got {dim!r}")
        self.w = nn.Parameter(torch.full((dim,), float(start)))

    @property
    def mask(self) -> Tensor:
        """The mask [D], entries in (0, 1)."""
        return torch.sigmoid(self.w)

    def forward(self, h: Tensor) -> Tensor:
        """Return h [N, D] times the mask, in h's type."""
        if not isinstance(h, Tensor):
            raise ValueError(
                f"the mask takes one tensor h [N, D], got a {type(h).__name__}; wrap the encoder "
                "in a module whose forward picks or pools it"
            )
        if h.shape[-1:] != self.w.shape:
            raise ValueError(
                f"the mask has {len(self.w)} dimensions, but h has shape {list(h.shape)}; build "
                f"DimensionalMask(dim) with the encoder's dim"
            )
        return (h * self.mask).to(h.dtype)


def masked_loss(
    encoder: nn.Module, head: nn.Module, mask: nn.Module, views: Views, loss: Loss = nt_xent
) -> Tensor:
    """Return L(θ, w): the loss of two views seen through the mask.

    Both views go through the network as one batch, so a BatchNorm sees them together.

    Args:
        encoder: from [2N, C, H, W] to h [2N, D].
        head: from masked h [2N, D] to z [2N, P], or to a tuple or list of such.
        mask: a `DimensionalMask`.
        views: (x1, x2), float [N, C, H, W] each.
        loss: called as loss(z1, z2) -> scalar; with a head that returns several, z1 and z2 are
            tuples of them.
    """
    return loss(*halves(head(mask(encoder(torch.cat(views))))))


def halves(z: Any) -> tuple[Any, Any]:
    """Return what belongs to the first view and to the second of z [2N, P], or of several."""
    if isinstance(z, Tensor):
        return z.chunk(2)
    first, second = zip(*(halves(part) for part in z), strict=True)
    return first, second
