"""The arguments of `fit`, checked before anything is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmlite import distributed
from mmlite.data import ImageSet
from mmlite.support import checks
from mmlite.training.history import History
from mmlite.training.precision import AUTOCAST
from mmlite.training.state import Stateful

MOST = 1e30  # learning rate or weight decay: beyond it AdamW's arithmetic leaves float32
Hook = Callable[[torch.optim.Optimizer], None]


@dataclass(frozen=True)
class Settings:
    """The numbers of a run; see `fit` for what each is.

    Raises:
        ValueError: one is out of its range.
    """

    images: ImageSet
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    seed: int
    precision: str
    compile: bool

    def __post_init__(self) -> None:
        checks.flag("compile", self.compile)
        distributed.check_joined()
        checked = {
            "epochs": checks.whole("epochs", self.epochs, 1),
            "batch_size": checks.whole("batch_size", self.batch_size, 2, len(self.images)),
            "seed": checks.seed(self.seed),
            "learning_rate": checks.real("learning_rate", self.learning_rate, above=0, most=MOST),
            "weight_decay": checks.real("weight_decay", self.weight_decay, least=0, most=MOST),
            "warmup": checks.real("warmup", self.warmup, least=0, below=1),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        checks.choice("precision", self.precision, AUTOCAST)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the images."""
        return len(self.images) // self.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def described(self) -> dict[str, Any]:
        """Return what tells this run from others, but for the images."""
        names = ("epochs", "batch_size", "learning_rate", "weight_decay", "warmup", "seed")
        return {name: getattr(self, name) for name in (*names, "precision")}


@dataclass(frozen=True)
class Hooks:
    """What is called around each step and after each epoch; None where nothing is.

    Raises:
        ValueError: one is neither a function nor None.
    """

    before_step: Hook | None
    after_step: Hook | None
    on_epoch: Callable[[int], None] | None

    def __post_init__(self) -> None:
        for name, hook in vars(self).items():
            if hook is not None:
                checks.function(name, hook, "a function or None")


@dataclass(frozen=True)
class Saving:
    """Where and when the run's checkpoint is written, what else it holds, and what describes it.

    Raises:
        ValueError: one of them is not what it must be.
    """

    path: Path | None
    every: int | None
    resume: bool
    keep: Mapping[str, Stateful] | None
    description: Mapping[str, Any] | None

    @classmethod
    def checked(
        cls,
        path: str | Path | None,
        every: int | None,
        resume: bool,
        keep: Mapping[str, Stateful] | None,
        description: Mapping[str, Any] | None,
    ) -> "Saving":
        """Return what `fit` was told, once it is what it must be."""
        _check_named(keep, description)
        return cls(*_check_checkpoint(path, every, resume), resume, keep, description)


def check_parts(model, loss, images, history) -> None:
    checks.module("model", model)
    checks.function("loss", loss, "a function of model, batch and generator")
    checks.instance("images", images, ImageSet, "an ImageSet, as load returns")
    if history is not None:
        checks.instance("history", history, History, "a History or None")


def _check_named(keep, description) -> None:
    for name, value in (("keep", keep), ("description", description)):
        if value is not None:
            checks.instance(name, value, Mapping, "a dictionary by name, or None")
    for name, thing in (keep or {}).items():
        if not all(hasattr(thing, one) for one in ("state_dict", "load_state_dict")):
            raise checks.wrong(
                f"keep[{name!r}]", "a thing with state_dict and load_state_dict", thing
            )


def _check_checkpoint(
    path: str | Path | None, every: int | None, resume: bool
) -> tuple[Path | None, int | None]:
    checks.flag("resume", resume)
    if every is not None:
        every = checks.whole("checkpoint_every", every, 1)
    if path is None:
        if resume or every is not None:
            raise ValueError("resume and checkpoint_every need checkpoint, the file to keep")
        return None, None
    path = checks.path("checkpoint", path)
    if path.is_dir():
        raise ValueError(f"checkpoint {path} is a folder; name a file in it, such as last.pt")
    return path, every
