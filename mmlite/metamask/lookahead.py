"""MetaMask for the price of one forward-mode pass: the virtual step is the training step."""

import copy
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmlite import distributed
from mmlite.metamask.checkpointing import without_checkpointing
from mmlite.metamask.mask import halves
from mmlite.metamask.objective import (
    HeadsGradient,
    Objective,
    Parameters,
    averaged,
    checked_representation,
    gradient_of,
    leaves,
    of_part,
)
from mmlite.metamask.tangents import CachedOutput, ConvolutionCache, check_same
from mmlite.metamask.trainer import MaskTrainer
from mmlite.metamask.update import Clipped, step_derivative
from mmlite.support import checks
from mmlite.support.rng import RngState, own_generators


@dataclass
class _Step:
    """A training step to be differentiated once the next one's gradient is known.

    Attributes:
        x: both views [2N, C, H, W].
        draws: the random states that the encoder began with.
        buffers: the encoder's, as it began with them.
        theta: θ; the encoder's part from just before the step is taken.
        h: the representation [2N, D].
        heads: the gradient with respect to h and the heads' parameters, with its graph.
        cached: what the encoder's convolutions returned, see `ConvolutionCache`.
        derivative: U′, entry by entry, once the step is taken.
        clipped: how the gradient was cut before the step; None if it was not.
    """

    x: Tensor
    draws: RngState
    buffers: Parameters
    theta: Parameters
    h: Tensor
    heads: HeadsGradient
    cached: list[CachedOutput | None] = field(default_factory=list)
    derivative: Parameters = field(default_factory=dict)
    clipped: Clipped | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return all but the graph and what is cached, which can be made anew; of all processes."""
        return {
            "x": torch.cat([distributed.all_gather_rows(x) for x in self.x.chunk(2)]),
            "h": torch.cat([distributed.all_gather_rows(h) for h in self.h.chunk(2)]),
            "draws": distributed.all_gather_objects(self.draws.state_dict()),
            "w": self.heads.w.detach(),
            "clipped": None if self.clipped is None else vars(self.clipped),
            **{name: getattr(self, name) for name in ("buffers", "theta", "derivative")},
        }


class _Known(torch.autograd.Function):
    """A loss whose gradients are known already: its backward pass hands them out."""

    @staticmethod
    def forward(ctx, value, gradients, *inputs):
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx, outer):
        return None, None, *(outer * gradient for gradient in ctx.gradients)


def _on_device(value: Any, device: torch.device) -> Any:
    """Return tensors, and those in dictionaries, on a device."""
    if isinstance(value, dict):
        return {key: _on_device(one, device) for key, one in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


@dataclass(eq=False, repr=False)
class LookaheadMetaMask(MaskTrainer):
    r"""MetaMask for the price of one forward-mode pass: the virtual step is the training step.

    Iteration t steps from θ to θ₊ = θ + U(g), with g = ∇θ ℒ(θ, w; batch t) the gradient of the
    whole loss and U what the optimizer makes of it, entry by entry. Iteration t + 1 computes the
    gradients of ℒ₊ = ℒ(θ₊, w; batch t + 1) anyway: u = ∇θ ℒ₊ to train with, and ∂ℒ₊/∂w from the
    same backward pass. What is missing of the derivative of ℒ₊ with respect to w,

        ∂ℒ₊/∂w + ∂/∂w ⟨∇θ ℒ(θ, w; batch t), U′(g) ⊙ u⟩,

    is the second term, one forward-mode pass at the old θ. U′ is the optimizer's own derivative
    (SGD: −lr; Adam: also through its second moment). So the loss that the mask minimizes is the
    next batch's, the virtual step is as long as the real one, and with `every` = k only each k-th
    pair of iterations pays. The derivative is exact for a change of the logits that lasts through
    both iterations; what w did to θ in earlier ones is left out, as in the paper.

        fit(..., before_step=method.before_step, after_step=method.after_step)

    Gradients that are clipped or scaled on their way to the step would not be in the derivative:
    `clip_norm` clips them here, derivative included, and on a CPU another change is refused.

    Takes the arguments of `MaskTrainer`, and:

    Args:
        clip_norm: the greatest length of the gradient of all trained parameters together; a longer
            one is cut to it before the step. None cuts nothing.

    Raises:
        ValueError: in training, for an optimizer other than SGD, Adam and AdamW, for gradients
            that something else has changed, and on a CPU for an encoder that cannot repeat a pass
            (see `meta_gradient`).

    Example:
        >>> mask = mmlite.DimensionalMask(16)
        >>> method = mmlite.LookaheadMetaMask(
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
        ...     before_step=method.before_step, after_step=method.after_step,
        ... )
        >>> bool((mask.entries != 0.5).all())
        True
    """

    clips = True
    _: KW_ONLY
    clip_norm: float | None = None
    pending: _Step | None = field(init=False, default=None)  # waits for the next gradient
    coming: _Step | None = field(init=False, default=None)  # is being taken
    known: Parameters = field(init=False, default_factory=dict)  # the heads' gradient, of the loss

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_norm is not None:
            self.clip_norm = checks.real("clip_norm", self.clip_norm, above=0)

    def loss(self, model: nn.Module, images: Tensor, generator: Generator) -> Tensor:
        """Return the training step's loss of images [N, C, H, W]; for `fit`."""
        parts = self.encoder.modules()
        if any(m._compiled_call_impl is not None or hasattr(m, "_orig_mod") for m in parts):
            raise ValueError(
                "LookaheadMetaMask cannot train a compiled encoder: each iteration differentiates "
                "the step before it in forward mode, which needs the encoder as it is; leave "
                "compile out, or take MetaMask (the schedule paper)"
            )
        x = torch.cat(self.views(images, generator))
        if (self.steps + 1) % self.every:
            return self.joint(*halves(self.heads(self.mask(self.encoder(x)))))
        draws = RngState.now(x.device, own_generators(self.encoder))
        buffers = {name: b.clone() for name, b in self.encoder.named_buffers()}
        # attention computes here as in the forward-mode pass, which draws and rounds alike then
        with sdpa_kernel(SDPBackend.MATH):
            with ConvolutionCache() as convolutions:
                h = checked_representation(self.encoder(x), x)
            heads, gradient = self._heads_gradient(h)
        theta = {name: p.detach() for name, p in heads.items()}
        self.coming = _Step(
            x.detach(), draws, buffers, theta, h.detach(), gradient, convolutions.outputs
        )
        originals = {f"head.{n}": p for n, p in self.heads.named_parameters()}
        self.known = {name: g.detach() for name, g in gradient.graph.items()}
        known = [*self.known.values(), gradient.of_h.detach(), cast(Tensor, gradient.of_w).detach()]
        seen = [*(originals[name] for name in self.known), h, self.mask.w]
        return _Known.apply(gradient.value, known, *seen)

    def _heads_gradient(self, h: Tensor) -> tuple[Parameters, HeadsGradient]:
        """Return copies of the heads' parameters, and the gradient there, whose graph lasts.

        The heads' buffers move on as in any training step.
        """
        heads = {
            name: p.detach().clone().requires_grad_()
            for name, p in self.heads.named_parameters()
            if p.requires_grad
        }
        buffers = {name: b.clone() for name, b in self.heads.named_buffers()}
        seen = leaves({"h": h, "w": self.mask.w.clone()})
        masked = functional_call(self.mask, {"w": seen["w"]}, (seen["h"],))
        state = heads | buffers
        with without_checkpointing():
            value = self.joint(*halves(functional_call(self.heads, state, (masked,))))
            gradient = gradient_of(value, heads | seen, create_graph=True)
        with torch.no_grad():
            for name, buffer in self.heads.named_buffers():
                buffer.copy_(state[name])
        of_h, of_w = gradient.pop("h"), gradient.pop("w")
        graph = {f"head.{name}": g for name, g in gradient.items()}
        found = HeadsGradient(value.detach(), seen["w"], of_h, graph, of_w)
        return {f"head.{name}": p for name, p in heads.items()}, found

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Finish the meta step of the iteration before; for `fit`, between backward and step."""
        self.steps += 1
        objective = self._objective()
        gradient = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.detach()
            for name, p in objective.originals.items()
        }
        old, self.pending, self.coming = self.pending, self.coming, None
        if self.pending is not None:
            self._check_unchanged(objective)
        if old is not None and not old.derivative.keys() <= gradient.keys():
            old = None  # a parameter was frozen since, so ∇θ ℒ₊ is not known
        if old is not None:
            direction = {name: d.mul_(gradient[name]) for name, d in old.derivative.items()}
            if old.clipped is not None:
                direction = old.clipped.transposed(direction)
            with objective.restoring_state(old.draws, old.buffers):
                h, along = objective.tangent(old.theta, old.x, direction, old.cached)
            check_same(old.h, h)
            direct = averaged(cast(Tensor, self.mask.w.grad))
            self.move_mask(direct + old.heads.derivative_along(along, direction))
        self.mask.w.grad = None
        if self.pending is not None:  # now that the graph of the encoder has gone
            spare = {} if old is None else old.theta
            for name, p in of_part("encoder", objective.parameters).items():
                self.pending.theta[name] = spare[name].copy_(p) if name in spare else p.clone()
        if self.clip_norm is not None:
            self._clip(gradient, self.clip_norm)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note how the step depended on its gradient; for `fit`, after each of its steps."""
        if self.pending is not None:
            objective = self._objective()
            self._check_unchanged(objective)
            theta = self.pending.theta
            self.pending.derivative = {
                name: torch.zeros_like(p)  # it is not stepped at all
                if p.grad is None
                else step_derivative(optimizer, p, theta[name], p.grad)
                for name, p in objective.originals.items()
                if name in theta
            }

    def _clip(self, gradient: Parameters, most: float) -> None:
        """Cut the gradient in place, and note how."""
        length = nn.utils.get_total_norm(list(gradient.values()))
        share = (most / (length + 1e-6)).clamp(max=1)
        for g in gradient.values():
            g.mul_(share.to(g.dtype))
        self.known = {name: g * share for name, g in self.known.items()}
        if self.pending is not None:
            # a gradient that is not cut has the same formula, but with the identity in its place
            inside = share >= 1
            cut = {name: torch.where(inside, 0, g) for name, g in gradient.items()}
            self.pending.clipped = Clipped(cut, share, length)

    def _check_unchanged(self, objective: Objective) -> None:
        """Raise a ValueError if something has changed the gradients; the derivative would not know.

        Of one process on a CPU: of several each knows its own gradient, not yet their mean.
        """
        if self.mask.w.device.type != "cpu" or distributed.world_size() > 1:
            return
        for name, g in self.known.items():
            p = objective.originals.get(name)
            if p is not None and p.grad is not None and not torch.equal(p.grad, g.to(p.grad.dtype)):
                raise ValueError(
                    f"the gradient of {name} is not the one that the loss gave: something clipped, "
                    "scaled or summed it, which the derivative of the step would not know. To clip "
                    "it, give LookaheadMetaMask clip_norm; else take MetaMask"
                )

    def _objective(self) -> Objective:
        return Objective(self.encoder, self.heads, self.mask, self.joint)

    def state_dict(self) -> dict[str, Any]:
        """Return also the step whose meta step is still to come."""
        pending = None if self.pending is None else self.pending.state_dict()
        return super().state_dict() | {"pending": pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.pending, self.coming = None, None
        if state["pending"] is not None:
            self.pending = self._pending_from(state["pending"])

    def __deepcopy__(self, memo: dict[int, Any]) -> "LookaheadMetaMask":
        """Copy all, and the step that waits as a checkpoint would: its graph is made anew."""
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        for name, value in vars(self).items():
            alone = name in ("pending", "coming")
            setattr(copied, name, None if alone else copy.deepcopy(value, memo))
        if self.pending is not None:
            copied.pending = copied._pending_from(copy.deepcopy(self.pending.state_dict()))
        return copied

    def _pending_from(self, state: dict[str, Any]) -> _Step:
        """Return the step that `_Step.state_dict` holds, this process's share of its images."""
        device = self.mask.w.device
        # more processes than wrote it, whose modules draw numbers, begin as the first
        drawn = state["draws"]
        drawn = drawn[distributed.rank() if distributed.rank() < len(drawn) else 0]
        draws = RngState.from_state_dict(drawn, device, own_generators(self.encoder))
        saved = {n: _on_device(value, device) for n, value in state.items() if n != "draws"}
        x, h = (
            torch.cat([distributed.local_shard(half) for half in saved[name].chunk(2)])
            for name in ("x", "h")
        )
        objective = self._objective()
        objective.w = saved["w"]
        # The heads' graph is made anew, from the same numbers: the heads draw theirs after the
        # encoder has drawn its own.
        with objective.restoring_state(draws, saved["buffers"]):
            with torch.no_grad():
                objective.at(saved["theta"], lambda: objective.represent(x))
            heads = objective.heads_gradient(saved["theta"], h)
        clipped = None if saved["clipped"] is None else Clipped(**saved["clipped"])
        return _Step(
            x, draws, saved["buffers"], saved["theta"], h, heads, [], saved["derivative"], clipped
        )
