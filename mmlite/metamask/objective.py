"""The loss as a function of (θ, w, views) alone, whatever state its modules have.

Each pass swaps tensors into the modules and runs with them there from its first operation to the
end of its backward pass, for activation checkpointing computes parts of the forward pass again in
the backward pass. Random states, buffers and the memory of a loss begin each pass as they were.
"""

import functools
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from mmlite import distributed
from mmlite.encoders import uncompiled
from mmlite.metamask.checkpointing import without_checkpointing
from mmlite.metamask.mask import halves
from mmlite.metamask.tangents import CachedOutput, FusedTangents, check_same
from mmlite.metamask.update import Parameters, check_copied, virtual_sgd
from mmlite.support.errors import first_line
from mmlite.support.reach import held_by
from mmlite.support.rng import RngState, own_generators

T = TypeVar("T")


class Pass(NamedTuple):
    """What a forward and a backward pass gave.

    Attributes:
        h: the representation [2N, D], detached.
        value: the loss, detached.
        of_w: ∂L/∂w [D], or None.
        gradient: ∇θ L by name.
    """

    h: Tensor
    value: Tensor
    of_w: Tensor | None
    gradient: Parameters

    @property
    def mask_gradient(self) -> Tensor:
        """∂L/∂w [D], of a pass that has it."""
        assert self.of_w is not None
        return self.of_w


@dataclass(frozen=True)
class HeadsGradient:
    """The gradient of L with respect to what the heads see, still a function of w.

    Of several processes each holds its part; `derivative_along` is of all.

    Attributes:
        value: the loss, detached.
        w: the logits, a leaf of the graph.
        of_h: ∂L/∂h [2N, D], with its graph.
        graph: ∂L/∂φ for each of the heads' parameters φ, with its graph.
        of_w: ∂L/∂w [D], where it is wanted.
    """

    value: Tensor
    w: Tensor
    of_h: Tensor
    graph: Parameters
    of_w: Tensor | None = None

    def derivative_along(self, along: Tensor, v: Parameters) -> Tensor:
        """Return ∂/∂w (⟨∂L/∂h, ḣ⟩ + ⟨∂L/∂φ, v⟩) [D]."""
        inner = (self.of_h * along).sum() + sum((g * v[n]).sum() for n, g in self.graph.items())
        with told_what_lacks("the head or the loss", 'method="first-order"'):
            of_w = torch.autograd.grad(inner, self.w, materialize_grads=True)[0]
        return averaged(of_w)


class _Network(nn.Module):
    """Encoder and head, to be called with a function that uses them."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()


class Objective:
    """L as a function of (θ, w, views) alone: nothing that it computes leaves a trace.

    Raises:
        ValueError: there is nothing to train, encoder and head share a parameter, or the optimizer
            lacks one or is of a kind that is not copied.
    """

    def __init__(self, encoder, head, mask, loss, optimizer=None) -> None:
        self.parts = {"encoder": encoder, "head": head}
        self.network = _Network(encoder, head)
        self.mask = mask
        self.of_heads = loss
        self.originals = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        self.parameters = {name: _plain(p) for name, p in self.originals.items()}
        self.w = _plain(mask.w).clone()
        self.optimizer = optimizer
        if not self.parameters:
            raise ValueError("neither the encoder nor the head has a parameter to train")
        held = [{id(p) for p in part.parameters() if p.requires_grad} for part in (encoder, head)]
        if held[0] & held[1]:
            raise ValueError("the encoder and the head share a parameter; give each its own")
        check_copied(optimizer, self.originals)
        self.memory: list[tuple[nn.Module, dict[str, Tensor]]] = []

    @contextmanager
    def restoring_state(
        self, draws: RngState | None = None, buffers: Parameters | None = None
    ) -> Iterator[None]:
        """Keep all that a pass would change, and let each pass begin alike.

        Attention takes PyTorch's composed kernel, the only one that has all derivatives.

        Args:
            draws: the random states that each pass begins with; by default the present ones.
            buffers: the encoder's, by name, that each pass begins with; by default the present.
        """
        modules = [m for part in self.parts.values() for m in part.modules()]
        own = own_generators(*self.parts.values(), self.of_heads)
        now = RngState.now(self.device, own)
        self.own = now.own
        self.draws = now if draws is None else draws
        self.buffers = buffers
        others = held_by([self.of_heads], nn.Module)
        known = {id(m) for m in [*modules, *self.mask.modules()]}
        self.memory = [(m, dict(m._buffers)) for m in others if id(m) not in known and m._buffers]
        norms = [
            m for m in modules if isinstance(m, _NormBase) and m.training and m.track_running_stats
        ]
        with ExitStack() as stack:
            stack.callback(now.restore)
            stack.callback(self._put_memory_back)
            for module in norms:
                module.track_running_stats = False
                stack.callback(setattr, module, "track_running_stats", True)
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(uncompiled(*self.parts.values()))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(_without_fast_path())
            if "torch._dynamo" in sys.modules:  # what torch.compile wrapped runs as it is
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    @property
    def device(self) -> torch.device:
        return next(iter(self.parameters.values())).device

    def at(self, theta: Parameters, compute: Callable[[], T]) -> T:
        """Return compute(), with θ and fresh copies of all buffers in the modules meanwhile."""
        buffers = {name: b.clone() for name, b in self.network.named_buffers()}
        if self.buffers is not None:
            buffers |= {f"encoder.{name}": b.clone() for name, b in self.buffers.items()}
        return functional_call(self.network, theta | buffers, (compute,))

    def represent(self, x: Tensor) -> Tensor:
        """Return h [2N, D] of both views x [2N, C, H, W], within `at`."""
        self.draws.restore()
        return checked_representation(self.parts["encoder"](x), x)

    def read(self, w: Tensor, h: Tensor) -> Tensor:
        """Return the loss of representations h [2N, D], within `at`."""
        for module, buffers in self.memory:
            module._buffers |= {n: None if b is None else b.clone() for n, b in buffers.items()}
        masked = functional_call(self.mask, {"w": w}, (h,))
        return _checked_loss(self.of_heads(*halves(self.parts["head"](masked))))

    def gradients(self, theta: Parameters, x: Tensor, create_graph: bool = False) -> Pass:
        """Return ∂L/∂w [D] and ∇θ L, from one backward pass.

        Args:
            theta: θ; with `create_graph` leaves, and `self.w` another.
            x: both views [2N, C, H, W].
            create_graph: keep the graph of ∇θ L, of this process's images, and leave ∂L/∂w out.
        """
        w = self.w
        if not create_graph:
            theta, w = leaves(theta), self.w.clone().requires_grad_()
        moved = False

        def compute() -> Pass:
            nonlocal moved
            h = self.represent(x)
            value = self.read(w, h)
            of = theta if create_graph else theta | {"w": w}
            before = self._state()
            gradient = gradient_of(value, of, create_graph=create_graph)
            moved = self._state() != before
            return Pass(h.detach(), value.detach(), gradient.pop("w", None), gradient)

        # what is differentiated twice is computed again long after this pass; and a reentrant
        # checkpoint has no gradient with respect to chosen tensors at all
        with without_checkpointing(reentrant_only=not create_graph):
            found = self.at(theta, compute)
        if moved:  # what was computed again drew other numbers, or found other buffers
            with without_checkpointing():
                found = self.at(theta, compute)
        if found.of_w is not None:
            averaged(found.of_w, *found.gradient.values())
        return found

    def _state(self) -> tuple[bytes, list[tuple[int, int]]]:
        """Return what a pass moves and checkpointing does not put back: it does torch's states."""
        now = RngState.now(torch.device("cpu"), [generator for generator, _ in self.own])
        drawn = pickle.dumps((now.python, now.numpy, [state for _, state in now.own]))
        return drawn, [(id(b), b._version) for b in self.network.buffers()]

    def heads_gradient(self, theta: Parameters, h: Tensor) -> HeadsGradient:
        """Return the gradient of L with respect to h [2N, D] and the heads' parameters."""
        heads, seen = leaves(of_part("head", theta)), leaves({"w": self.w, "h": h})

        def compute() -> HeadsGradient:
            value = self.read(seen["w"], seen["h"])
            gradient = gradient_of(value, heads | {"h": seen["h"]}, create_graph=True)
            return HeadsGradient(value.detach(), seen["w"], gradient.pop("h"), gradient)

        with without_checkpointing():
            return self.at(heads, compute)

    def gradient_of_w(self, theta: Parameters, x: Tensor) -> Tensor:
        """Return ∂L/∂w [D] alone: nothing flows back through the encoder."""
        w = self.w.clone().requires_grad_()

        def compute() -> Tensor:
            with torch.no_grad():
                h = self.represent(x)
            return torch.autograd.grad(self.read(w, h), w)[0]

        with without_checkpointing(reentrant_only=True):
            return averaged(self.at(theta, compute))

    def tangent(
        self,
        theta: Parameters,
        x: Tensor,
        v: Parameters,
        cached: list[CachedOutput | None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return h [2N, D] and its derivative [2N, D] as θ moves along v.

        Args:
            theta: θ by name.
            x: both views [2N, C, H, W].
            v: the direction, under the same names.
            cached: of an earlier pass at (θ, x), see `FusedTangents`.
        """
        encoder = of_part("encoder", theta)
        with forward_ad.dual_level(), without_checkpointing(), FusedTangents(cached):
            dual = {name: forward_ad.make_dual(p, v[name]) for name, p in encoder.items()}
            try:
                found = self.at(dual, functools.partial(self.represent, x))
            except NotImplementedError as error:
                raise NotImplementedError(
                    "the encoder has an operation that PyTorch cannot differentiate in forward "
                    f'mode ({first_line(error)}); method="unrolled" does without'
                ) from error
            h, along = forward_ad.unpack_dual(found)
            return h.detach(), torch.zeros_like(h) if along is None else along.detach()

    def check_repeats(self, theta: Parameters, x: Tensor, before: Pass) -> None:
        """Raise a ValueError if another pass at θ is not what the one before it was."""
        if x.device.type != "cpu":
            return

        def compute() -> tuple[Tensor, Tensor]:
            h = self.represent(x)
            return h, self.read(self.w, h)

        with torch.no_grad(), without_checkpointing(reentrant_only=True):
            h, value = self.at(theta, compute)
        check_same(before.h, h)
        check_same(before.value, value, "losses")

    def step(self, theta: Parameters, gradient: Parameters, lr: float) -> Parameters:
        """Return θ − lr · the direction that (a copy of) the optimizer would take."""
        return virtual_sgd(theta, gradient, lr, self.originals, self.optimizer)

    def _put_memory_back(self) -> None:
        for module, buffers in self.memory:
            module._buffers.update(buffers)


def checked_representation(h: Any, x: Tensor) -> Tensor:
    """Return h, or raise a ValueError that says what the encoder gave instead of [2N, D]."""
    if not isinstance(h, Tensor):
        raise ValueError(
            f"the encoder returned {_described(h)}, and the mask takes one tensor h [N, D]; wrap "
            "the encoder in a module whose forward picks or pools it"
        )
    if h.dim() < 2 or len(h) != len(x):
        raise ValueError(
            f"the encoder returned shape {list(h.shape)} for {len(x)} images; the mask takes "
            "h [N, D], a row for each image"
        )
    return h


def _checked_loss(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = list(value.shape) if isinstance(value, Tensor) else _described(value)
        raise ValueError(f"the loss function must return a scalar tensor, got {got}")
    return value.reshape(())


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"a {type(value).__name__} with {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


@contextmanager
def told_what_lacks(where: str, instead: str) -> Iterator[None]:
    """Say in a sentence that an operation has no second derivative."""
    try:
        yield
    except RuntimeError as error:
        said = first_line(error)
        if not re.search("derivative for .* is not implemented|once_differentiable", said):
            raise
        raise NotImplementedError(
            f"{where} has an operation that PyTorch cannot differentiate twice ({said}); {instead} "
            "does without"
        ) from error


def of_part(part: str, theta: Parameters) -> Parameters:
    """Return the parameters of the encoder or of the head, under the same names."""
    return {name: p for name, p in theta.items() if name.startswith(f"{part}.")}


def leaves(tensors: Parameters) -> Parameters:
    return {name: t.detach().requires_grad_() for name, t in tensors.items()}


def gradient_of(value: Tensor, of: Parameters, **options) -> Parameters:
    """Return the gradient of a scalar by name."""
    if not value.requires_grad:
        raise ValueError(
            "the loss does not depend on parameters; was it computed under no_grad, or detached?"
        )
    found = torch.autograd.grad(value, list(of.values()), materialize_grads=True, **options)
    return dict(zip(of, found, strict=True))


def averaged(*gradients: Tensor) -> Tensor:
    """Make gradients those of the whole batch, in place, and return the first of them."""
    if distributed.is_sharded():
        distributed.all_reduce_mean(gradients)
    return gradients[0]


def _plain(p: Tensor) -> Tensor:
    """Return a parameter's values; of one made in inference mode a copy that has gradients."""
    return p.detach().clone() if p.is_inference() else p.detach()


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Let transformer layers in evaluation mode run in operations that can be differentiated."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
