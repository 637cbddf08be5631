r"""The mask, and the gradient of the loss after a virtual step with respect to its logits.

The derivation stands in `mmlite.metamask`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from mmlite import processes
from mmlite.contrastive import nt_xent
from mmlite.encoders import uncompiled
from mmlite.metamask.tangents import FusedTangents, Kept

Views = tuple[Tensor, Tensor]
Parameters = dict[str, Tensor]
Loss = Callable[[Any, Any], Tensor]
METHODS = ("exact", "unrolled", "finite-difference", "first-order")


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
        """Return h [N, D] times the mask."""
        if h.shape[-1:] != self.w.shape:
            raise ValueError(
                f"the mask has {len(self.w)} dimensions, but h has shape {list(h.shape)}; build "
                f"DimensionalMask(dim) with the encoder's dim"
            )
        return h * self.mask


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


def virtual_step(
    encoder: nn.Module,
    head: nn.Module,
    mask: DimensionalMask,
    views: Views,
    virtual_lr: float,
    loss: Loss = nt_xent,
    optimizer: torch.optim.SGD | None = None,
) -> Parameters:
    """Return θ′ = θ − η ∇θ L(θ, w), the parameters after one step that is not taken.

    Args:
        encoder, head, mask, views, loss: as for `masked_loss`.
        virtual_lr: η >= 0.
        optimizer: an SGD whose momentum buffers and weight decay the virtual step copies, as the
            published code does; its learning rate is not used.

    Returns:
        θ′ by name, "encoder.…" and "head.…", those parameters that require gradients. Nothing
        else changes: see `meta_gradient`.

    Raises:
        ValueError: as `meta_gradient`.
    """
    objective = Objective(encoder, head, mask, loss, optimizer)
    _check_arguments(views, virtual_lr)
    with objective.left_alone():
        _, gradient = objective.gradients(objective.parameters, torch.cat(views))
        return objective.step(objective.parameters, gradient, virtual_lr)


def meta_gradient(
    encoder: nn.Module,
    head: nn.Module,
    mask: DimensionalMask,
    views: Views,
    virtual_lr: float,
    method: str = "exact",
    outer_views: Views | None = None,
    loss: Loss = nt_xent,
    optimizer: torch.optim.SGD | None = None,
    finite_step: float = 1e-2,
) -> Tensor:
    r"""Return ∇J(w), the gradient of the loss after one virtual step with respect to the logits.

    J(w) = L(θ′(w), w) with θ′(w) = θ − η ∇θ L(θ, w) (Li et al. 2022, the meta step of figure 3; the
    derivation stands in `mmlite.metamask`). Modules run in the mode they are in. Parameters,
    gradients, buffers and random states are left as they were; a module that draws random numbers
    draws the same ones in each pass. Within `mmlite.processes.one_batch` it is the gradient for
    the images of all processes.

    Args:
        encoder, head, mask, views, loss: as for `masked_loss`. Any modules will do, BatchNorm in
            training mode included, as long as PyTorch can differentiate them in the ways that the
            method needs: "exact" in forward mode, "unrolled" twice.
        virtual_lr: η >= 0, the virtual step's length.
        method: "exact"; "unrolled", the same by keeping the graph of the first gradient;
            "finite-difference", the published code's central difference for the second term, which
            can be far off; "first-order", without the second term.
        outer_views: the views that L(θ′, w) is taken on; by default `views` again.
        optimizer: as for `virtual_step`.
        finite_step: how far the finite difference moves θ either way, along v; 0.01 is the
            published code's.

    Returns:
        float [D], detached.

    Raises:
        ValueError: the method is unknown, views do not fit each other or the mask, the virtual
            step is negative or not finite, nothing can be trained, encoder and head share a
            parameter, or the optimizer lacks one or is of a kind that is not copied.
        NotImplementedError: "exact", and the encoder has an operation without forward mode.
    """
    check_method(method)
    if not 0 < finite_step < math.inf:
        raise ValueError(f"finite_step must be a finite number above 0, got {finite_step}")
    _check_arguments(views, virtual_lr)
    x = outer_x = torch.cat(views)
    if outer_views is not None:
        _check_arguments(outer_views, virtual_lr)
        outer_x = torch.cat(outer_views)
    objective = Objective(encoder, head, mask, loss, optimizer)
    with objective.left_alone():
        if method == "finite-difference":
            return _finite_difference(objective, x, outer_x, virtual_lr, finite_step)
        return _METHODS[method](objective, x, outer_x, virtual_lr)


# The four ways, each from the inner views x [2N, C, H, W] and the outer ones to ∇J [D].


def _exact(objective: "Objective", x: Tensor, outer_x: Tensor, lr: float) -> Tensor:
    theta = objective.parameters
    direct, v = _up_to_first_order(objective, x, outer_x, lr)
    h, along = objective.tangent(theta, x, v)
    heads = objective.heads_gradient(theta, h)
    return direct - lr * heads.derivative_along(along, v)


def _unrolled(objective: "Objective", x: Tensor, outer_x: Tensor, lr: float) -> Tensor:
    """By double backward: the graph of the virtual step is kept and differentiated in turn."""
    w = objective.w.requires_grad_()
    theta = leaves(objective.parameters)
    gradient = gradient_of(objective.loss(theta, w, x), theta, create_graph=True)
    if processes.shared():  # the mean again, but with its graph
        gradient = {n: processes.total(g) / processes.count() for n, g in gradient.items()}
    virtual = objective.step(theta, gradient, lr)
    of_w = torch.autograd.grad(objective.loss(virtual, w, outer_x), w)[0]
    return averaged(of_w)


def _first_order(objective: "Objective", x: Tensor, outer_x: Tensor, lr: float) -> Tensor:
    return _up_to_first_order(objective, x, outer_x, lr)[0]


def _finite_difference(
    objective: "Objective", x: Tensor, outer_x: Tensor, lr: float, length: float
) -> Tensor:
    """Take the second term from ∂L/∂w at θ + εv and at θ − εv, as the published code does.

    ε = length / ‖v‖. A length that crosses kinks of the network's ReLUs is too long.
    """
    direct, v = _up_to_first_order(objective, x, outer_x, lr)
    norm = torch.cat([one.flatten() for one in v.values()]).norm()
    epsilon = length / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    ahead, behind = (
        objective.gradient_of_w(
            {name: p + step * v[name] for name, p in objective.parameters.items()}, x
        )
        for step in (epsilon, -epsilon)
    )
    return direct - lr * (ahead - behind) / (2 * epsilon)


def _up_to_first_order(
    objective: "Objective", x: Tensor, outer_x: Tensor, lr: float
) -> tuple[Tensor, Parameters]:
    """Return ∂L/∂w [D] and v = ∇θ L, both at θ′."""
    _, gradient = objective.gradients(objective.parameters, x)
    virtual = objective.step(objective.parameters, gradient, lr)
    del gradient  # the next pass is the one that holds most
    return objective.gradients(virtual, outer_x)


_METHODS = {"exact": _exact, "unrolled": _unrolled, "first-order": _first_order}


@dataclass(frozen=True)
class HeadsGradient:
    """The gradient of L with respect to what the heads see, still a function of w.

    Of several processes each holds its part; `derivative_along` is of all.

    Attributes:
        w: the logits, a leaf of the graph.
        of_h: ∂L/∂h [2N, D], with its graph.
        graph: ∂L/∂φ for each of the heads' parameters φ, with its graph.
    """

    w: Tensor
    of_h: Tensor
    graph: Parameters

    def derivative_along(self, along: Tensor, v: Parameters) -> Tensor:
        """Return ∂/∂w (⟨∂L/∂h, ḣ⟩ + ⟨∂L/∂φ, v⟩) [D]."""
        inner = (self.of_h * along).sum() + sum((g * v[n]).sum() for n, g in self.graph.items())
        of_w = torch.autograd.grad(inner, self.w, materialize_grads=True)[0]
        return averaged(of_w)


@dataclass(frozen=True)
class Draws:
    """The states of the random generators that a module draws from: the CPU's and its device's."""

    cpu: Tensor
    device: torch.device
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "Draws":
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, cuda)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


class Objective:
    """L as a function of (θ, w, views) alone: nothing that it computes leaves a trace."""

    def __init__(self, encoder, head, mask, loss, optimizer=None) -> None:
        self.parts = {"encoder": encoder, "head": head}
        self.mask = mask
        self.of_heads = loss
        self.originals = {
            f"{part}.{name}": p
            for part, module in self.parts.items()
            for name, p in module.named_parameters()
            if p.requires_grad
        }
        self.parameters = {name: p.detach() for name, p in self.originals.items()}
        self.w = mask.w.detach().clone()
        self.optimizer = optimizer
        if not self.parameters:
            raise ValueError("neither the encoder nor the head has a parameter to train")
        if len({id(p) for p in self.originals.values()}) < len(self.originals):
            raise ValueError("the encoder and the head share a parameter; give each its own")
        _check_optimizer(optimizer, self.originals)

    @contextmanager
    def left_alone(self, draws: "Draws | None" = None) -> Iterator[None]:
        """Keep running statistics and random states as they are, and let each pass draw alike.

        Args:
            draws: the random states that each pass begins with; by default the present ones.
        """
        norms = [
            module
            for part in self.parts.values()
            for module in part.modules()
            if isinstance(module, _NormBase) and module.training and module.track_running_stats
        ]
        device = next(iter(self.parameters.values())).device
        self.draws = Draws.now(device) if draws is None else draws
        devices = [device] if device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=devices),
            torch.enable_grad(),
            uncompiled(*self.parts.values()),
        ):
            for module in norms:
                module.track_running_stats = False
            try:
                yield
            finally:
                for module in norms:
                    module.track_running_stats = True

    def call(self, part: str, theta: Parameters, x: Tensor) -> Any:
        module = self.parts[part]
        own = {name.removeprefix(f"{part}."): p for name, p in of_part(part, theta).items()}
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        return functional_call(module, own | buffers, (x,))

    def represent(self, theta: Parameters, x: Tensor) -> Tensor:
        """Return h [2N, D] of both views x [2N, C, H, W]."""
        self.draws.restore()
        return self.call("encoder", theta, x)

    def read(self, theta: Parameters, w: Tensor, h: Tensor) -> Tensor:
        """Return the loss of representations h [2N, D]."""
        masked = functional_call(self.mask, {"w": w}, (h,))
        return self.of_heads(*halves(self.call("head", theta, masked)))

    def loss(self, theta: Parameters, w: Tensor, x: Tensor) -> Tensor:
        return self.read(theta, w, self.represent(theta, x))

    def heads_gradient(self, theta: Parameters, h: Tensor) -> HeadsGradient:
        """Return the gradient of L with respect to h [2N, D] and the heads' parameters."""
        heads, seen = leaves(of_part("head", theta)), leaves({"w": self.w, "h": h})
        value = self.read(heads, seen["w"], seen["h"])
        gradient = gradient_of(value, heads | {"h": seen["h"]}, create_graph=True)
        return HeadsGradient(seen["w"], gradient.pop("h"), gradient)

    def gradients(self, theta: Parameters, x: Tensor) -> tuple[Tensor, Parameters]:
        """Return ∂L/∂w [D] and ∇θ L, from one backward pass."""
        theta, w = leaves(theta), self.w.clone().requires_grad_()
        gradient = gradient_of(self.loss(theta, w, x), theta | {"w": w})
        averaged(*gradient.values())
        return gradient.pop("w"), gradient

    def gradient_of_w(self, theta: Parameters, x: Tensor) -> Tensor:
        """Return ∂L/∂w [D] alone: nothing flows back through the encoder."""
        with torch.no_grad():
            h = self.represent(theta, x)
        w = self.w.clone().requires_grad_()
        of_w = torch.autograd.grad(self.read(theta, w, h), w)[0]
        return averaged(of_w)

    @torch.no_grad()
    def tangent(
        self, theta: Parameters, x: Tensor, v: Parameters, kept: list[Kept | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return h [2N, D] and its derivative [2N, D] as θ moves along v.

        Args:
            kept: what an earlier pass at (θ, x) kept, see `FusedTangents`.
        """
        encoder = of_part("encoder", theta)
        with forward_ad.dual_level(), FusedTangents(kept):
            dual = {name: forward_ad.make_dual(p, v[name]) for name, p in encoder.items()}
            try:
                h, along = forward_ad.unpack_dual(self.represent(dual, x))
            except NotImplementedError as error:
                raise NotImplementedError(
                    "the encoder has an operation that PyTorch cannot differentiate in forward "
                    f'mode ({str(error).splitlines()[0]}); method="unrolled" does without'
                ) from error
        return h, torch.zeros_like(h) if along is None else along

    def step(self, theta: Parameters, gradient: Parameters, lr: float) -> Parameters:
        """Return θ − lr · the direction that (a copy of) the optimiser would take."""
        if self.optimizer is None:
            return {name: p - lr * gradient[name] for name, p in theta.items()}
        group = {id(p): g for g in self.optimizer.param_groups for p in g["params"]}
        after = {}
        for name, p in theta.items():
            original = self.originals[name]
            direction = gradient[name] + group[id(original)]["weight_decay"] * p
            buffer = self.optimizer.state.get(original, {}).get("momentum_buffer")
            if buffer is not None:
                direction = direction + group[id(original)]["momentum"] * buffer
            after[name] = p - lr * direction
        return after


def halves(z: Any) -> tuple[Any, Any]:
    """Return what belongs to the first view and to the second of z [2N, P], or of several."""
    if isinstance(z, Tensor):
        return z.chunk(2)
    first, second = zip(*(halves(part) for part in z), strict=True)
    return first, second


def of_part(part: str, theta: Parameters) -> Parameters:
    """Return the parameters of the encoder or of the head, under the same names."""
    return {name: p for name, p in theta.items() if name.startswith(f"{part}.")}


def leaves(tensors: Parameters) -> Parameters:
    return {name: t.detach().requires_grad_() for name, t in tensors.items()}


def gradient_of(value: Tensor, of: Parameters, **options) -> Parameters:
    """Return the gradient of a scalar by name."""
    found = torch.autograd.grad(value, list(of.values()), materialize_grads=True, **options)
    return dict(zip(of, found, strict=True))


def averaged(*gradients: Tensor) -> Tensor:
    """Make gradients those of the whole batch, in place, and return the first of them."""
    if processes.shared():
        processes.average(gradients)
    return gradients[0]


def check_method(method: str) -> None:
    """Raise a ValueError unless it is one of the four."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def check_virtual_lr(virtual_lr: float) -> None:
    """Raise a ValueError unless η is a finite number of at least 0."""
    if not 0 <= virtual_lr < math.inf:
        raise ValueError(f"virtual_lr must be a finite number of at least 0, got {virtual_lr}")


def _check_arguments(views: Views, virtual_lr: float) -> None:
    check_virtual_lr(virtual_lr)
    if (
        not isinstance(views, (tuple, list))
        or len(views) != 2
        or not all(isinstance(x, Tensor) for x in views)
        or views[0].shape != views[1].shape
    ):
        got = type(views).__name__
        if isinstance(views, (tuple, list)):
            got = [list(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in views]
        raise ValueError(f"views must be a pair (x1, x2) of one shape [N, C, H, W], got {got}")


def _check_optimizer(optimizer: torch.optim.Optimizer | None, needed: Parameters) -> None:
    if optimizer is None:
        return
    if not isinstance(optimizer, torch.optim.SGD) or any(
        group["nesterov"] or group["dampening"] or group["maximize"]
        for group in optimizer.param_groups
    ):
        raise ValueError(
            "the virtual step copies SGD without nesterov, dampening and maximize, got "
            f"{type(optimizer).__name__}; leave optimizer out for a plain step"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if missing := [name for name, p in needed.items() if id(p) not in held]:
        raise ValueError(
            f"the optimizer does not hold {len(missing)} of the {len(needed)} parameters, "
            f"{missing[0]} among them; make it of those of the encoder and of the head"
        )
