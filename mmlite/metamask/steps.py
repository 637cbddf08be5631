"""MetaMask's training step: what `mmlite.fit` does with a mask after each of its steps."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from mmlite.contrastive import nt_xent
from mmlite.metamask.gradient import METHODS, check_virtual_lr, meta_gradient
from mmlite.metamask.mask import DimensionalMask, Loss, Views, check_parts, halves
from mmlite.redundancy import barlow_twins
from mmlite.support import checks

MakeViews = Callable[[Tensor, Generator], Views]


class _Heads(nn.ModuleList):
    """Several heads side by side: h [N, D] to a list of z."""

    def forward(self, h: Tensor) -> list[Tensor]:
        return [head(h) for head in self]


class MetaMask:
    """MetaMask as the paper has it: a regular step, then a meta step on the same batch.

    The regular step trains encoder and heads on contrastive + α · redundancy, seen through the
    mask as it is. The meta step then moves the mask's logits against `meta_gradient` of the
    contrastive loss at the new parameters (Li et al. 2022, figure 3: the red line and the blue):

        method = MetaMask(encoder, projector(...), projector(...), mask, mask_optimizer, views)
        fit(method.model, method.loss, images, epochs=8, after_step=method.after_step)

    Args:
        encoder: from [N, C, H, W] to h [N, D].
        contrastive_head, redundancy_head: from h to z, for the two losses.
        mask: a `DimensionalMask(D)`.
        mask_optimizer: of the mask's logits; its learning rate is its own.
        views: called as views(images, generator) -> (x1, x2), for instance a `TwoViews`.
        redundancy_weight: α >= 0, the weight of the redundancy term.
        contrastive_loss, redundancy_loss: called as loss(z1, z2) -> scalar.
        virtual_lr: η, the length of the virtual step; None takes the optimiser's learning rate of
            the moment.
        copy_optimizer: let the virtual step copy momentum and weight decay of the optimiser, which
            has to be an SGD then.
        method: of `meta_gradient`.
        every: take the meta step after every k-th regular step only.
        outer_views: as `views`: what the loss after the virtual step is taken on; by default the
            views of the regular step again.

    Attributes:
        model: what `fit` trains: encoder and heads, without the mask.
        mask: the mask.

    Raises:
        ValueError: α or η is negative or not finite, `every` is no whole number of at least 1, or
            the method is unknown.
    """

    def __init__(
        self,
        encoder: nn.Module,
        contrastive_head: nn.Module,
        redundancy_head: nn.Module,
        mask: DimensionalMask,
        mask_optimizer: torch.optim.Optimizer,
        views: MakeViews,
        *,
        redundancy_weight: float = 0.02,
        contrastive_loss: Loss = nt_xent,
        redundancy_loss: Loss = barlow_twins,
        virtual_lr: float | None = 0.1,
        copy_optimizer: bool = False,
        method: str = "exact",
        every: int = 1,
        outer_views: MakeViews | None = None,
    ) -> None:
        check_parts(encoder, contrastive_head, mask, contrastive_loss, "contrastive_")
        check_parts(encoder, redundancy_head, mask, redundancy_loss, "redundancy_")
        checks.instance(
            "mask_optimizer", mask_optimizer, torch.optim.Optimizer, "an optimizer of the mask"
        )
        checks.function("views", views, "a function of images and a generator")
        if outer_views is not None:
            checks.function("outer_views", outer_views, "a function of images and a generator")
        redundancy_weight = checks.real("redundancy_weight", redundancy_weight, least=0)
        if virtual_lr is not None:
            virtual_lr = check_virtual_lr(virtual_lr)
        copy_optimizer = checks.flag("copy_optimizer", copy_optimizer)
        checks.choice("method", method, METHODS)
        every = checks.whole("every", every, 1)
        self.encoder, self.heads = encoder, _Heads([contrastive_head, redundancy_head])
        self.model = nn.ModuleDict({"encoder": encoder, "heads": self.heads})
        self.mask, self.mask_optimizer = mask, mask_optimizer
        self.views, self.outer_views = views, outer_views
        self.redundancy_weight = redundancy_weight
        self.contrastive_loss, self.redundancy_loss = contrastive_loss, redundancy_loss
        self.virtual_lr, self.copy_optimizer = virtual_lr, copy_optimizer
        self.method, self.every = method, every
        self.steps = 0
        self.seen: Views | None = None
        self.seen_outer: Views | None = None

    def joint(self, z1: Sequence[Tensor], z2: Sequence[Tensor]) -> Tensor:
        """Return contrastive + α · redundancy of what the two heads made of the two views."""
        contrastive = self.contrastive_loss(z1[0], z2[0])
        return contrastive + self.redundancy_weight * self.redundancy_loss(z1[1], z2[1])

    def loss(self, model: nn.Module, images: Tensor, generator: Generator) -> Tensor:
        """Return the regular step's loss of images [N, C, H, W]; for `fit`."""
        self.seen = self.views(images, generator)
        if self.outer_views is not None:
            self.seen_outer = self.outer_views(images, generator)
        # the regular step does not train the mask
        untrained = {"w": self.mask.w.detach()}
        masked = functional_call(self.mask, untrained, (self.encoder(torch.cat(self.seen)),))
        return self.joint(*halves(self.heads(masked)))

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the meta step; for `fit`, after each of its steps."""
        self.steps += 1
        if self.steps % self.every:
            return
        lr = optimizer.param_groups[0]["lr"] if self.virtual_lr is None else self.virtual_lr
        self._move(
            meta_gradient(
                self.encoder,
                self.heads[0],
                self.mask,
                cast(Views, self.seen),  # a meta step without a loss before it is told there
                lr,
                self.method,
                self.seen_outer,
                self.contrastive_loss,
                cast(torch.optim.SGD, optimizer) if self.copy_optimizer else None,  # told there
            )
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the mask, its optimiser's state and the steps taken; the model keeps its own."""
        return {
            "mask": self.mask.state_dict(),
            "mask_optimizer": self.mask_optimizer.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.mask.load_state_dict(state["mask"])
        self.mask_optimizer.load_state_dict(state["mask_optimizer"])
        self.steps = state["steps"]

    def _move(self, gradient: Tensor) -> None:
        self.mask.w.grad = gradient.to(self.mask.w.dtype)
        self.mask_optimizer.step()
        self.mask.w.grad = None
