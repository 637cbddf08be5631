"""MetaMask's training step: what `mmlite.fit` does with a mask around each of its steps.

`MaskTrainer` is what all such methods share; `MetaMask` is the paper's, and
`mmlite.metamask.lookahead` has a cheaper one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from mmlite.contrastive import nt_xent
from mmlite.metamask.gradient import GRADIENT_METHODS, check_virtual_lr, meta_gradient
from mmlite.metamask.mask import DimensionalMask, Loss, Views, check_parts, halves
from mmlite.redundancy import barlow_twins
from mmlite.support import checks
from mmlite.support.methods import StepMethod

MakeViews = Callable[[Tensor, Generator], Views]


class _Heads(nn.ModuleList):
    """Several heads side by side: h [N, D] to a list of z."""

    def forward(self, h: Tensor) -> list[Tensor]:
        return [head(h) for head in self]


@dataclass(eq=False, repr=False)
class MaskTrainer(StepMethod, ABC):
    """An encoder, its two heads and a mask, and how a training step treats them.

    A subclass says what the loss of a step is and when the mask moves:

        fit(trainer.model, trainer.loss, images, epochs=8, after_step=trainer.after_step)

    Args:
        encoder: from [N, C, H, W] to h [N, D].
        contrastive_head: from h to z, for the contrastive loss.
        redundancy_head: from h to z, for the redundancy term.
        mask: a `DimensionalMask(D)`.
        mask_optimizer: of the mask's logits; its learning rate is its own.
        views: called as views(images, generator) -> (x1, x2), for instance a `TwoViews`.
        redundancy_weight: α >= 0, the weight of the redundancy term.
        contrastive_loss: called as loss(z1, z2) -> scalar.
        redundancy_loss: called as loss(z1, z2) -> scalar.
        every: move the mask after every k-th step only.

    Attributes:
        heads: both heads as one module, from h to a list of two z.
        model: what `fit` trains: encoder and heads, without the mask.
        steps: how many steps have been taken.
        losses: the last step's "contrastive" and "redundancy" loss, unweighted, on their device.
        mask_gradient: what the mask was last moved against, [D]; None before.

    Raises:
        ValueError: an argument is of another kind or out of its range.
    """

    encoder: nn.Module
    contrastive_head: nn.Module
    redundancy_head: nn.Module
    mask: DimensionalMask
    mask_optimizer: torch.optim.Optimizer
    views: MakeViews
    _: KW_ONLY
    redundancy_weight: float = 0.02
    contrastive_loss: Loss = nt_xent
    redundancy_loss: Loss = barlow_twins
    every: int = 1
    heads: nn.ModuleList = field(init=False)
    model: nn.ModuleDict = field(init=False)
    steps: int = field(init=False, default=0)
    losses: dict[str, Tensor] = field(init=False, default_factory=dict)
    mask_gradient: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for which in ("contrastive", "redundancy"):
            head, loss = getattr(self, f"{which}_head"), getattr(self, f"{which}_loss")
            check_parts(self.encoder, head, self.mask, loss, f"{which}_")
        checks.instance(
            "mask_optimizer", self.mask_optimizer, torch.optim.Optimizer, "an optimizer of the mask"
        )
        checks.function("views", self.views, "a function of images and a generator")
        self.redundancy_weight = checks.real("redundancy_weight", self.redundancy_weight, least=0)
        self.every = checks.whole("every", self.every, 1)
        self.heads = _Heads([self.contrastive_head, self.redundancy_head])
        self.model = nn.ModuleDict({"encoder": self.encoder, "heads": self.heads})

    @abstractmethod
    def loss(self, model: nn.Module, images: Tensor, generator: Generator) -> Tensor:
        """Return the training step's loss of images [N, C, H, W]; for `fit`."""

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Do what comes between the backward pass and the optimizer's step; for `fit`."""
        return

    @abstractmethod
    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Do what follows the optimizer's step; for `fit`."""

    def joint(self, z1: Sequence[Tensor], z2: Sequence[Tensor]) -> Tensor:
        """Return contrastive + α · redundancy of what the two heads made of the two views."""
        contrastive = self.contrastive_loss(z1[0], z2[0])
        redundancy = self.redundancy_loss(z1[1], z2[1])
        self.losses = {"contrastive": contrastive.detach(), "redundancy": redundancy.detach()}
        return self.weighed(contrastive, redundancy)

    def weighed(self, contrastive: Tensor, redundancy: Tensor) -> Tensor:
        """Return the regular step's loss, given both of its parts."""
        return contrastive + self.redundancy_weight * redundancy

    def statistics(self) -> dict[str, Tensor]:
        """Return the last step's two losses and what the mask is like, for hooks to log.

        Returns:
            Scalars on the mask's device, which nothing waits for: "contrastive" and "redundancy",
            the mean, least, greatest and standard deviation of the entries, and the length of the
            gradient that the mask was last moved against.

        Example:
            >>> mask = mmlite.DimensionalMask(4)
            >>> parts = nn.Flatten(), nn.Linear(4, 2), nn.Linear(4, 2), mask
            >>> optimizer = torch.optim.SGD(mask.parameters(), 0.1)
            >>> method = mmlite.MetaMask(*parts, optimizer, mmlite.TwoViews())
            >>> float(method.statistics()["mask mean"])
            0.5
        """
        entries = self.mask.entries.detach()
        told = self.losses | {
            "mask mean": entries.mean(),
            "mask least": entries.min(),
            "mask greatest": entries.max(),
            "mask deviation": entries.std(correction=0),
        }
        if self.mask_gradient is not None:
            told["mask gradient"] = self.mask_gradient.norm()
        return told

    def state_dict(self) -> dict[str, Any]:
        """Return the mask, its optimizer's state and the steps taken; the model's is its own."""
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

    def move_mask(self, gradient: Tensor) -> None:
        """Let the mask's optimizer step against a gradient [D] of the logits."""
        self.mask_gradient = gradient.detach()
        self.mask.w.grad = gradient.to(self.mask.w.dtype)
        self.mask_optimizer.step()
        self.mask.w.grad = None


@dataclass(eq=False, repr=False)
class MetaMask(MaskTrainer):
    """MetaMask as the paper has it: a regular step, then a meta step on the same batch.

    The regular step trains encoder and heads on contrastive + α · redundancy, seen through the
    mask as it is. The meta step then moves the mask's logits against `meta_gradient` of the
    contrastive loss at the new parameters (Li et al. 2022, figure 3: the red line and the blue):

        method = MetaMask(encoder, projector(...), projector(...), mask, mask_optimizer, views)
        fit(method.model, method.loss, images, epochs=8, after_step=method.after_step)

    Takes the arguments of `MaskTrainer`, and:

    Args:
        virtual_lr: η, the length of the virtual step; None takes the optimizer's learning rate of
            the moment.
        copy_optimizer: let the virtual step copy momentum and weight decay of the optimizer, which
            has to be an SGD then.
        method: of `meta_gradient`.
        outer_views: as `views`: what the loss after the virtual step is taken on; by default the
            views of the regular step again.

    Raises:
        ValueError: an argument is of another kind or out of its range.

    Example:
        >>> mask = mmlite.DimensionalMask(16)
        >>> method = mmlite.MetaMask(
        ...     mmlite.small_conv(channels=1, dim=16),
        ...     mmlite.projector(16, 16, 8),
        ...     mmlite.projector(16, 16, 8),
        ...     mask,
        ...     torch.optim.Adam(mask.parameters(), 0.05),
        ...     mmlite.TwoViews(),
        ... )
        >>> images = mmlite.load("fashion", "train", size=64)
        >>> history = mmlite.fit(
        ...     method.model, method.loss, images, epochs=1, batch_size=32, progress=False,
        ...     after_step=method.after_step,
        ... )
        >>> bool((mask.entries != 0.5).all())
        True
    """

    _: KW_ONLY
    virtual_lr: float | None = 0.1
    copy_optimizer: bool = False
    method: str = "exact"
    outer_views: MakeViews | None = None
    seen: Views | None = field(init=False, default=None)
    seen_outer: Views | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outer_views is not None:
            checks.function("outer_views", self.outer_views, "a function of images and a generator")
        if self.virtual_lr is not None:
            self.virtual_lr = check_virtual_lr(self.virtual_lr)
        self.copy_optimizer = checks.flag("copy_optimizer", self.copy_optimizer)
        checks.choice("method", self.method, GRADIENT_METHODS)

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
        gradient = meta_gradient(
            self.encoder,
            self.contrastive_head,
            self.mask,
            cast(Views, self.seen),  # it refuses None: a meta step without a loss before it
            lr,
            method=self.method,
            outer_views=self.seen_outer,
            loss=self.contrastive_loss,
            # it refuses an optimizer of another kind
            optimizer=cast(torch.optim.SGD, optimizer) if self.copy_optimizer else None,
        )
        self.move_mask(gradient)
