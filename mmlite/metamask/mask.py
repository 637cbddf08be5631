"""The dimensional mask, and the loss seen through it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmlite.contrastive import nt_xent
from mmlite.support import checks

Views = tuple[Tensor, Tensor]
Loss = Callable[[Any, Any], Tensor]


class DimensionalMask(nn.Module):
    """A weight in (0, 1) for each dimension of a representation: h ⊙ σ(w) (Li et al. 2022, fig. 3).

    Args:
        dim: D.
        start: every logit's first value, finite; 0 gives a mask of 1/2 everywhere.

    Attributes:
        w: the logits, float [D].

    Raises:
        ValueError: dim is no whole number of at least 1, or start no finite number.

    Example:
        >>> mask = mmlite.DimensionalMask(3)
        >>> mask(torch.tensor([[2.0, 4.0, 6.0]])).tolist()
        [[1.0, 2.0, 3.0]]
    """

    def __init__(self, dim: int, start: float = 0.0) -> None:
        super().__init__()
        dim, start = checks.whole("dim", dim, 1), checks.real("start", start)
        self.w = nn.Parameter(torch.full((dim,), start))

    @property
    def entries(self) -> Tensor:
        """The mask σ(w) [D], entries in (0, 1)."""
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
        return (h * self.entries).to(h.dtype)


def shuffled(mask: Tensor, seed: int) -> Tensor:
    """Return a mask's entries or logits [D] in another order, which the seed draws.

    What any mask of these values does, whatever dimensions they belong to.
    """
    order = torch.randperm(len(mask), generator=torch.Generator().manual_seed(seed))
    return mask[order.to(mask.device)]


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

    Raises:
        ValueError: an argument is of another kind, or views do not fit each other or the mask.

    Example:
        >>> parts = nn.Flatten(), nn.Linear(16, 4), mmlite.DimensionalMask(16)
        >>> mmlite.masked_loss(*parts, (torch.rand(8, 1, 4, 4), torch.rand(8, 1, 4, 4))).shape
        torch.Size([])
    """
    check_parts(encoder, head, mask, loss)
    check_views("views", views)
    return loss(*halves(head(mask(encoder(torch.cat(views))))))


def check_parts(encoder: Any, head: Any, mask: Any, loss: Any, which: str = "") -> None:
    """Raise a ValueError unless these are what their names say, head's and loss's after `which`."""
    checks.module("encoder", encoder)
    checks.module(f"{which}head", head)
    if not isinstance(mask, nn.Module) or not isinstance(getattr(mask, "w", None), Tensor):
        raise checks.wrong("mask", "a DimensionalMask, or a module with logits w [D]", mask)
    checks.function(f"{which}loss", loss, "a function of z1 and z2")


def check_views(name: str, views: Any) -> None:
    """Raise a ValueError unless these are two tensors of floats of one shape."""
    if (
        not isinstance(views, (tuple, list))
        or len(views) != 2
        or not all(isinstance(x, Tensor) for x in views)
        or views[0].shape != views[1].shape
        or views[0].dim() < 2
    ):
        got: Any = checks.shown(views)
        if isinstance(views, (tuple, list)):
            got = [list(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in views]
        raise ValueError(f"{name} must be a pair (x1, x2) of one shape [N, C, H, W], got {got}")
    if views[0].dtype != views[1].dtype or views[0].device != views[1].device:
        raise ValueError(
            f"{name} must be a pair of one type on one device, got {views[0].dtype} on "
            f"{views[0].device} and {views[1].dtype} on {views[1].device}"
        )


def halves(z: Any) -> tuple[Any, Any]:
    """Return what belongs to the first view and to the second of z [2N, P], or of several."""
    if isinstance(z, Tensor):
        x1, x2 = z.chunk(2)
        return x1, x2
    first, second = zip(*(halves(part) for part in z), strict=True)
    return first, second
