r"""The gradient of the loss after a virtual step with respect to the mask's logits.

The derivation stands in `mmlite.metamask`.
"""

import functools

import torch
from torch import Tensor, nn

from mmlite import distributed
from mmlite.contrastive import nt_xent
from mmlite.metamask.checkpointing import without_checkpointing
from mmlite.metamask.mask import DimensionalMask, Loss, Views, check_parts, check_views
from mmlite.metamask.objective import (
    Objective,
    Parameters,
    Pass,
    averaged,
    leaves,
    told_what_lacks,
)
from mmlite.metamask.tangents import check_same
from mmlite.support import checks

GRADIENT_METHODS = ("exact", "unrolled", "finite-difference", "first-order")


def virtual_step(
    encoder: nn.Module,
    head: nn.Module,
    mask: DimensionalMask,
    views: Views,
    virtual_lr: float,
    *,
    loss: Loss = nt_xent,
    optimizer: torch.optim.SGD | None = None,
) -> Parameters:
    """Return θ′ = θ − η ∇θ L(θ, w), the parameters after one step that is not taken.

    Args:
        encoder: from [2N, C, H, W] to h [2N, D].
        head: from masked h [2N, D] to z [2N, P], or to a tuple or list of such.
        mask: a `DimensionalMask`.
        views: (x1, x2), float [N, C, H, W] each.
        virtual_lr: η >= 0.
        loss: as for `masked_loss`.
        optimizer: an SGD whose momentum buffers and weight decay the virtual step copies, as the
            published code does; its learning rate is not used.

    Returns:
        θ′ by name, "encoder.…" and "head.…", those parameters that require gradients. Nothing
        else changes: see `meta_gradient`.

    Raises:
        ValueError: as `meta_gradient`.

    Example:
        >>> parts = nn.Flatten(), nn.Linear(16, 4), mmlite.DimensionalMask(16)
        >>> views = torch.rand(8, 1, 4, 4), torch.rand(8, 1, 4, 4)
        >>> sorted(mmlite.virtual_step(*parts, views, virtual_lr=0.1))
        ['head.bias', 'head.weight']
    """
    check_parts(encoder, head, mask, loss)
    check_views("views", views)
    virtual_lr = check_virtual_lr(virtual_lr)
    with torch.inference_mode(False):
        objective = Objective(encoder, head, mask, loss, optimizer)
        with objective.restoring_state():
            inner = objective.gradients(objective.parameters, both(views))
            return objective.step(objective.parameters, inner.gradient, virtual_lr)


def meta_gradient(
    encoder: nn.Module,
    head: nn.Module,
    mask: DimensionalMask,
    views: Views,
    virtual_lr: float,
    *,
    method: str = "exact",
    outer_views: Views | None = None,
    loss: Loss = nt_xent,
    optimizer: torch.optim.SGD | None = None,
    finite_step: float = 1e-2,
) -> Tensor:
    r"""Return ∇J(w), the gradient of the loss after one virtual step with respect to the logits.

    J(w) = L(θ′(w), w) with θ′(w) = θ − η ∇θ L(θ, w) (Li et al. 2022, the meta step of figure 3; the
    derivation stands in `mmlite.metamask`). Modules run in the mode they are in. Within
    `mmlite.distributed.sharded_batch` it is the gradient for the images of all processes.

    Parameters, gradients, buffers and random states are left as they were, and each pass begins
    with the same ones: torch's generators, `random`, NumPy's global one, those that the modules or
    the loss hold, and the buffers of a loss that is or holds a module. What draws or remembers in
    another way is refused: on a CPU a pass at θ is held against another. Activations that the
    encoder checkpoints are checkpointed here too, but not by "unrolled". Attention computes with
    PyTorch's composed kernel. What the encoder computes under `torch.no_grad` is a constant.

    Args:
        encoder: from [2N, C, H, W] to h [2N, D]. Any module will do, BatchNorm in training mode
            included, that PyTorch can differentiate as the method needs: "exact" in forward mode,
            "unrolled" twice.
        head: from masked h [2N, D] to z [2N, P], or to a tuple or list of such.
        mask: a `DimensionalMask`.
        views: (x1, x2), float [N, C, H, W] each.
        virtual_lr: η >= 0, the virtual step's length.
        method: "exact"; "unrolled", the same by keeping the graph of the first gradient;
            "finite-difference", the published code's central difference for the second term, which
            can be far off; "first-order", without the second term.
        outer_views: the views that L(θ′, w) is taken on; by default `views` again.
        loss: as for `masked_loss`.
        optimizer: as for `virtual_step`.
        finite_step: how far the finite difference moves θ either way, along v; 0.01 is the
            published code's.

    Returns:
        float [D], detached.

    Raises:
        ValueError: the method is unknown, views do not fit each other or the mask, the virtual
            step is negative or not finite, nothing can be trained, encoder and head share a
            parameter, the optimizer lacks one or is of a kind that is not copied, the encoder
            returns something else than h, or on a CPU two passes at θ are not the same (below).
        NotImplementedError: "exact", and the encoder has an operation without forward mode, or the
            heads one without a second derivative; "unrolled", and either has one without.

    Example:
        >>> parts = nn.Linear(16, 8), nn.Linear(8, 4), mmlite.DimensionalMask(8)
        >>> views = torch.rand(32, 16), torch.rand(32, 16)
        >>> exact = mmlite.meta_gradient(*parts, views, 0.1)
        >>> unrolled = mmlite.meta_gradient(*parts, views, 0.1, method="unrolled")
        >>> torch.allclose(exact, unrolled, rtol=1e-3, atol=1e-7)
        True
    """
    check_parts(encoder, head, mask, loss)
    check_views("views", views)
    if outer_views is not None:
        check_views("outer_views", outer_views)
    virtual_lr = check_virtual_lr(virtual_lr)
    checks.choice("method", method, GRADIENT_METHODS)
    finite_step = checks.real("finite_step", finite_step, above=0)
    compute = _METHODS.get(method) or functools.partial(_finite_difference, length=finite_step)
    with torch.inference_mode(False):
        objective = Objective(encoder, head, mask, loss, optimizer)
        x = outer_x = both(views)
        if outer_views is not None:
            outer_x = both(outer_views)
        with objective.restoring_state():
            return compute(objective, x, outer_x, virtual_lr)


# The four ways, each from the inner views x [2N, C, H, W] and the outer ones to ∇J [D].


def _exact(objective: Objective, x: Tensor, outer_x: Tensor, lr: float) -> Tensor:
    theta = objective.parameters
    inner, outer = _two_passes(objective, x, outer_x, lr)
    h, along = objective.tangent(theta, x, outer.gradient)
    check_same(inner.h, h)
    heads = objective.heads_gradient(theta, h)
    check_same(inner.value, heads.value, "losses")
    return outer.mask_gradient - lr * heads.derivative_along(along, outer.gradient)


def _unrolled(objective: Objective, x: Tensor, outer_x: Tensor, lr: float) -> Tensor:
    """By double backward: the graph of the virtual step is kept and differentiated in turn."""
    w = objective.w.requires_grad_()
    theta = leaves(objective.parameters)
    inner = objective.gradients(theta, x, create_graph=True)
    objective.check_repeats(theta, x, inner)
    gradient = inner.gradient
    if distributed.is_sharded():  # the mean again, but with its graph
        gradient = {
            n: distributed.all_reduce_sum(g) / distributed.world_size() for n, g in gradient.items()
        }
    virtual = objective.step(theta, gradient, lr)
    with without_checkpointing(), told_what_lacks("the network", 'method="exact"'):
        value = objective.at(virtual, lambda: objective.read(w, objective.represent(outer_x)))
        of_w = torch.autograd.grad(value, w)[0]
    return averaged(of_w)


def _first_order(objective: Objective, x: Tensor, outer_x: Tensor, lr: float) -> Tensor:
    inner, outer = _two_passes(objective, x, outer_x, lr)
    objective.check_repeats(objective.parameters, x, inner)
    return outer.mask_gradient


def _finite_difference(
    objective: Objective, x: Tensor, outer_x: Tensor, lr: float, length: float
) -> Tensor:
    """Take the second term from ∂L/∂w at θ + εv and at θ − εv, as the published code does.

    ε = length / ‖v‖. A length that crosses kinks of the network's ReLUs is too long.
    """
    inner, outer = _two_passes(objective, x, outer_x, lr)
    objective.check_repeats(objective.parameters, x, inner)
    v = outer.gradient
    norm = torch.cat([one.flatten() for one in v.values()]).norm()
    epsilon = length / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    ahead, behind = (
        objective.gradient_of_w(
            {name: p + step * v[name] for name, p in objective.parameters.items()}, x
        )
        for step in (epsilon, -epsilon)
    )
    return outer.mask_gradient - lr * (ahead - behind) / (2 * epsilon)


def _two_passes(objective: Objective, x: Tensor, outer_x: Tensor, lr: float) -> tuple[Pass, Pass]:
    """Return the pass at θ, without its gradient, and the one at θ′: ∂L/∂w [D] and v = ∇θ L."""
    inner = objective.gradients(objective.parameters, x)
    virtual = objective.step(objective.parameters, inner.gradient, lr)
    inner = inner._replace(gradient={})  # the next pass is the one that holds most
    return inner, objective.gradients(virtual, outer_x)


_METHODS = {"exact": _exact, "unrolled": _unrolled, "first-order": _first_order}


def both(views: Views) -> Tensor:
    """Return both views as one batch [2N, C, H, W], constants of the derivative."""
    return torch.cat([x.detach() for x in views])


def check_virtual_lr(virtual_lr: float) -> float:
    """Return η, or raise a ValueError unless it is a finite number of at least 0."""
    return checks.real("virtual_lr", virtual_lr, least=0)
