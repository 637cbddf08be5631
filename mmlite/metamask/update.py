"""What an optimizer makes of a gradient: SGD's step without taking it, and a step's derivative."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Parameters = dict[str, Tensor]


def virtual_sgd(
    theta: Parameters,
    gradient: Parameters,
    lr: float,
    originals: Mapping[str, Tensor],
    optimizer: torch.optim.SGD | None = None,
) -> Parameters:
    """Return θ − lr · (g + weight decay · θ + momentum · buffer), by name.

    Args:
        theta: θ by name.
        gradient: g by name.
        lr: the step's length.
        originals: the optimizer's parameters under the same names.
        optimizer: where weight decay, momentum and its buffers are read; None for θ − lr · g.
    """
    if optimizer is None:
        return {name: p - lr * gradient[name] for name, p in theta.items()}
    group = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    after = {}
    for name, p in theta.items():
        original = originals[name]
        direction = gradient[name] + group[id(original)]["weight_decay"] * p
        buffer = optimizer.state.get(original, {}).get("momentum_buffer")
        if buffer is not None:
            direction = direction + group[id(original)]["momentum"] * buffer
        after[name] = p - lr * direction
    return after


def check_copied(optimizer: torch.optim.Optimizer | None, needed: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless `virtual_sgd` can copy the optimizer."""
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


@dataclass(frozen=True)
class Clipped:
    """A gradient g that was cut to c g, c = most / (‖g‖ + 1e-6) < 1, as PyTorch does.

    Attributes:
        gradient: c g by name.
        share: c.
        length: ‖g‖.
    """

    gradient: Parameters
    share: Tensor
    length: Tensor

    def transposed(self, direction: Parameters) -> Parameters:
        """Return the derivative of c g with respect to g, transposed, times a direction.

        c d − g ⟨c g, d⟩ / (‖g‖ (‖g‖ + 1e-6)).
        """
        inner = sum((self.gradient[name] * d).sum() for name, d in direction.items())
        along = inner / (self.share * self.length * (self.length + 1e-6))
        return {n: self.share * d - along * self.gradient[n] for n, d in direction.items()}


@torch.no_grad()
def step_derivative(
    optimizer: torch.optim.Optimizer, parameter: nn.Parameter, before: Tensor, gradient: Tensor
) -> Tensor:
    """Return dp₊/dg entry by entry: how the step just taken depended on the gradient g.

    SGD (with momentum, also Nesterov's), Adam and AdamW; Kingma & Ba 2015, algorithm 1, for the
    latter two, differentiated.

    Args:
        optimizer: after its step.
        parameter: p, one of its parameters.
        before: p before the step.
        gradient: g.

    Raises:
        ValueError: another optimizer, or an option that changes the formula.
    """
    groups = (g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    if (group := next(groups, None)) is None:
        raise ValueError(
            f"the optimizer does not hold a parameter of shape {list(parameter.shape)} that has a "
            "gradient; make it of all parameters of the method's model"
        )
    odd = [name for name in ("amsgrad", "maximize", "dampening") if group.get(name)]
    kind = type(optimizer)
    if odd or kind not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        raise ValueError(
            "the step's derivative is known for SGD, Adam and AdamW without amsgrad, maximize and "
            f"dampening, got {kind.__name__}{f' with {odd[0]}' if odd else ''}"
        )
    if kind is torch.optim.SGD:
        factor = 1 + group["momentum"] if group["nesterov"] else 1
        return torch.full_like(parameter, -group["lr"] * factor)
    state, (beta1, beta2) = optimizer.state[parameter], group["betas"]
    step = state["step"]
    # a fused optimizer keeps it on the device, and reading it would wait for that
    step = float(step) if step.device.type == "cpu" else step.double()
    if kind is torch.optim.Adam and not group.get("decoupled_weight_decay"):
        gradient = gradient + group["weight_decay"] * before
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step
    root = (state["exp_avg_sq"] / correction2).sqrt_()  # of the mean square
    size = root + group["eps"]
    # an entry that has never had a gradient has root 0, and its step does not depend on the root
    root.masked_fill_(root == 0, math.inf)
    # in place where that can be: new memory costs more here than the arithmetic
    slope = ((1 - beta2) / correction2 * gradient).div_(root)
    through_root = slope.mul_(state["exp_avg"] / correction1).div_(size.square())
    return ((1 - beta1) / correction1 / size).sub_(through_root).mul_(-group["lr"])
