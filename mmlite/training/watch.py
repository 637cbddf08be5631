"""A watch over losses, gradients and weights: a run stops before NaN reaches a checkpoint."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmlite.contrastive import NotFiniteError
from mmlite.training.history import History

REFRESH = 0.5  # seconds between two reads of the loss on a device where each read waits for it


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class LossWatch:
    """Moves losses from the device to the history, and stops the run at one that is not finite.

    On a CPU each loss, and the gradient's length, is checked before the step is taken. On other
    devices checking makes the host wait, so they are collected there and checked every half
    second, after each epoch and before each checkpoint.
    """

    def __init__(self, history: History, device: torch.device) -> None:
        self.history = history
        self.waits = device.type != "cpu"
        self.pending: list[tuple[str, Tensor]] = []  # each step's loss, then its gradient's length
        self.parts: list[Tensor] = []  # the losses of a batch that comes in parts
        self.looked = self.shown = time.perf_counter()

    def add(self, value: Tensor, parts: int = 1) -> None:
        """Take a step's loss; of a batch in parts, that of each part in turn."""
        self.parts.append(check_loss(value))
        if len(self.parts) < parts:
            return
        self.pending.append(
            ("loss", torch.stack(self.parts).mean() if parts > 1 else self.parts[0])
        )
        self.parts.clear()
        if not self.waits or time.perf_counter() - self.looked > REFRESH:
            self.look()

    def add_gradients(self, gradients: list[Tensor]) -> Tensor:
        """Take a step's gradients, and return their length."""
        if not gradients:
            raise ValueError("the loss does not depend on the weights that are to be trained")
        length = _length(gradients)
        self.pending.append(("gradient", length))
        if not self.waits:
            self.look()
        return length

    def due(self) -> bool:
        """Whether it is time to show the loss again."""
        if not self.history.known or time.perf_counter() - self.shown < REFRESH:
            return False
        self.shown = time.perf_counter()
        return True

    def look(self) -> None:
        if not self.pending:
            return
        kinds, tensors = zip(*self.pending, strict=True)
        self.pending.clear()
        self.looked = time.perf_counter()
        for kind, value in zip(kinds, torch.stack(tensors).float().tolist(), strict=True):
            finite = math.isfinite(value)
            if kind == "loss" and finite:
                self.history.known.append(value)
            elif kind == "loss":
                _give_up(f"the loss at step {len(self.history.known) + 1} is {value}")
            elif not finite:
                step = len(self.history.known)
                _give_up(
                    f"the loss at step {step} is finite, but the length of its gradient is {value}"
                )


def check_loss(value: Any) -> Tensor:
    """Return a loss, detached.

    Raises:
        ValueError: it is no scalar, or does not depend on the model.
    """
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the loss function must return a scalar tensor, got {shape}")
    if not value.requires_grad:
        raise ValueError(
            "the loss does not depend on the model: was it computed under no_grad, or detached?"
        )
    return value.detach().reshape(())


def _give_up(what: str) -> None:
    raise TrainingError(
        f"{what}; a lower learning_rate, a longer warmup or a higher temperature may help; look at "
        "the images too"
    )


def check_weights(parameters: list[nn.Parameter], step: int) -> None:
    """Raise a TrainingError if a weight is NaN or infinite: such weights are never kept."""
    length = _length([p.detach() for p in parameters]).item()
    if not math.isfinite(length):
        _give_up(f"the length of the weights after step {step} is {length}")


def _length(tensors: list[Tensor]) -> Tensor:
    """Return the norm of all entries: NaN if one is; in float32 it overflows where AdamW does."""
    return nn.utils.get_total_norm(tensors).detach()


@contextmanager
def in_step(step: int) -> Iterator[None]:
    """Say in which step a projection was not finite."""
    try:
        yield
    except NotFiniteError as error:
        raise TrainingError(f"step {step}: {error}") from error
