"""What updates the weights: AdamW with a warm-up and a cosine, or what the caller makes."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from mmlite.support import checks
from mmlite.training.schedule import warmup_cosine

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
# the numbers of `fit` that an optimizer or a schedule of the caller's own replaces
LEARNING_RATE, WEIGHT_DECAY, WARMUP = 2e-3, 1e-4, 0.1
PLAIN = (bool, int, float, str, tuple, list)


class Schedule(Protocol):
    """What changes the learning rate after each step, as PyTorch's schedulers do."""

    def step(self) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object: ...


MakeSchedule = Callable[[torch.optim.Optimizer, int], Schedule]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return a model's parameters for an optimizer, with weight decay on matrices and kernels only.

    Biases, and the weights of normalizations and of a mask, have one dimension or none: decay would
    pull what they scale or shift to 0 (Goyal et al. 2017, section 5.1, leave BatchNorm's out).

    Args:
        model: whose parameters.
        weight_decay: of those with two dimensions or more.

    Raises:
        ValueError: an argument is of another kind or out of its range.

    Example:
        >>> groups = parameter_groups(mmlite.small_conv(1, 16), weight_decay=1e-4)
        >>> [(group["weight_decay"], len(group["params"])) for group in groups]
        [(0.0001, ...), (0.0, ...)]
    """
    checks.instance("model", model, nn.Module, "a torch.nn.Module")
    weight_decay = checks.real("weight_decay", weight_decay, least=0)
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class Updates:
    """How a run updates its weights; see `fit`.

    Raises:
        ValueError: one of both is no function, or a number is given that it replaces.
    """

    optimizer: MakeOptimizer | None
    schedule: MakeSchedule | None
    learning_rate: float
    weight_decay: float
    warmup: float

    def __post_init__(self) -> None:
        replaced = {
            "optimizer": {"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
            "schedule": {"warmup": WARMUP},
        }
        for name, numbers in replaced.items():
            if (function := getattr(self, name)) is None:
                continue
            checks.function(name, function, "a function or None")
            for number, default in numbers.items():
                if getattr(self, number) != default:
                    raise ValueError(
                        f"{number} is the business of your own {name}; give it there, and leave "
                        f"{number} out"
                    )

    def make_optimizer(
        self, parameters: list[nn.Parameter], device: torch.device
    ) -> torch.optim.Optimizer:
        """Return the optimizer of a model's parameters.

        Raises:
            ValueError: the caller's function makes none, one of other parameters, or one whose
                step needs an argument.
        """
        if self.optimizer is None:
            return torch.optim.AdamW(
                parameters,
                lr=self.learning_rate,
                weight_decay=self.weight_decay,
                fused=device.type != "cpu",  # a launch for all weights; a CPU has none to save
            )
        made = self.optimizer(parameters)
        checks.instance("what optimizer returns", made, torch.optim.Optimizer, "an Optimizer")
        _check_step("optimizer", made)
        held = {id(p) for group in made.param_groups for p in group["params"]}
        if missing := [p for p in parameters if p.requires_grad and id(p) not in held]:
            raise ValueError(
                f"optimizer leaves out {len(missing)} of the model's {len(parameters)} parameters, "
                f"one of shape {list(missing[0].shape)} among them; freeze them (requires_grad) or "
                "hand them over"
            )
        if foreign := held - {id(p) for p in parameters}:
            raise ValueError(
                f"optimizer holds {len(foreign)} parameters that are not the model's; let the "
                "model hold all that is to be trained"
            )
        return made

    def make_schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> Schedule:
        """Return the schedule of a run of so many steps.

        Raises:
            ValueError: the caller's function makes none, or one whose step needs an argument.
        """
        if self.schedule is None:
            return torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: warmup_cosine(step, steps, self.warmup)
            )
        made = self.schedule(optimizer, steps)
        for method in ("step", "state_dict", "load_state_dict"):
            if not callable(getattr(made, method, None)):
                raise checks.wrong("what schedule returns", f"something with {method}()", made)
        _check_step("schedule", made)
        return made


def described(
    optimizer: torch.optim.Optimizer, schedule: Schedule, updates: Updates
) -> dict[str, str]:
    """Return what tells a fresh optimizer and schedule of the caller's own from others."""
    told = {}
    if updates.optimizer is not None:
        groups = (group | {"parameters": len(group["params"])} for group in optimizer.param_groups)
        told["optimizer"] = f"{type(optimizer).__name__}: {'; '.join(map(_numbers, groups))}"
    if updates.schedule is not None:
        told["schedule"] = f"{type(schedule).__name__}: {_numbers(schedule.state_dict())}"
    return told


def _numbers(of: dict[str, Any]) -> str:
    """Return the numbers, words and lists of them that a dictionary holds, but for parameters."""
    plain = {name: value for name, value in sorted(of.items()) if name != "params"}
    return ", ".join(f"{name} {v!r}" for name, v in plain.items() if isinstance(v, PLAIN))


def _check_step(name: str, made: Any) -> None:
    """Raise a ValueError if `step` needs an argument, as LBFGS's and ReduceLROnPlateau's do."""
    try:
        inspect.signature(made.step).bind()
    except TypeError as error:
        raise ValueError(
            f"{name} makes a {type(made).__name__}, whose step needs an argument ({error}); fit "
            "calls step() after each batch"
        ) from None
