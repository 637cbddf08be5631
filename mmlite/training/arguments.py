"""The arguments of `fit`, checked before anything is built."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch

from mmlite import distributed
from mmlite.support import checks
from mmlite.support.methods import StepMethod
from mmlite.support.reach import held_by
from mmlite.training.batches import Batches
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

    batches: Batches
    epochs: int
    learning_rate: float
    weight_decay: float
    warmup: float
    seed: int
    precision: str
    compile: bool
    accumulate: int
    clip_norm: float | None

    def __post_init__(self) -> None:
        checks.flag("compile", self.compile)
        distributed.check_joined()
        checked = {
            "epochs": checks.whole("epochs", self.epochs, 1),
            "seed": checks.seed(self.seed),
            "learning_rate": checks.real("learning_rate", self.learning_rate, above=0, most=MOST),
            "weight_decay": checks.real("weight_decay", self.weight_decay, least=0, most=MOST),
            "warmup": checks.real("warmup", self.warmup, least=0, below=1),
            "accumulate": checks.whole("accumulate", self.accumulate, 1),
        }
        if self.clip_norm is not None:
            checked["clip_norm"] = checks.real("clip_norm", self.clip_norm, above=0)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        checks.choice("precision", self.precision, AUTOCAST)
        size = self.batches.batch_size
        if size % self.accumulate or (size and size < 2 * self.accumulate):
            raise ValueError(
                f"accumulate must divide batch_size into equal parts of 2 images or more, got "
                f"{self.accumulate} for a batch_size of {size}"
            )

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.batches.steps_per_epoch

    @property
    def part(self) -> int:
        """Images of a part of a batch, of all processes together."""
        return self.batches.batch_size // self.accumulate

    @property
    def rates(self) -> tuple[float, float, float]:
        """Learning rate, weight decay and warm-up."""
        return self.learning_rate, self.weight_decay, self.warmup

    def described(self) -> dict[str, Any]:
        """Return what tells this run from others, but for the images."""
        names = ("epochs", "learning_rate", "weight_decay", "warmup", "seed", "precision")
        told = {name: getattr(self, name) for name in names}
        told["batch_size"] = self.batches.batch_size
        later = {"accumulate": self.accumulate, "clip_norm": self.clip_norm}
        # left out where they do nothing, as files from before there were any leave them out
        return told | {name: value for name, value in later.items() if value not in (1, None)}


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
class Checkpointing:
    """The file that a run is saved in, and when.

        fit(..., checkpoint=Checkpointing("last.pt", resume=True))

    It holds weights, optimizer, schedule, order of the images, random states and history, and is
    written after each epoch. Of several processes the first reads and writes it, and another number
    of them may go on from it.

    Args:
        path: the file.
        every: write it after every k-th step too.
        resume: go on from the file if it is there, else start. A damaged file is set aside with a
            warning for the one before it.
        longer: let the file be of a run of fewer epochs, also of one that `StopTraining` ended.
            The schedule goes on as the longer run's: a cosine rises again to where that would be.
        extra_state: what else the file has to hold, by name: things with `state_dict` and
            `load_state_dict`, for instance {"trainer": trainer} for a `MetaMask`.

    Raises:
        ValueError: an argument is of another kind or out of its range.

    Example:
        >>> mmlite.Checkpointing("runs/last.pt", every=100, resume=True).file.name
        'last.pt'
    """

    path: str | Path
    _: KW_ONLY
    every: int | None = None
    resume: bool = False
    longer: bool = False
    extra_state: Mapping[str, Stateful] | None = None

    def __post_init__(self) -> None:
        path = checks.path("path", self.path)
        if path.is_dir():
            raise ValueError(f"path {path} is a folder; name a file in it, such as last.pt")
        object.__setattr__(self, "path", path)
        if self.every is not None:
            object.__setattr__(self, "every", checks.whole("every", self.every, 1))
        for name in ("resume", "longer"):
            object.__setattr__(self, name, checks.flag(name, getattr(self, name)))
        if self.longer and not self.resume:
            raise ValueError("longer says what resume=True may go on from; give both")
        if self.extra_state is not None:
            _check_by_name("extra_state", self.extra_state)
        for name, thing in (self.extra_state or {}).items():
            if not all(hasattr(thing, one) for one in ("state_dict", "load_state_dict")):
                raise checks.wrong(
                    f"extra_state[{name!r}]", "a thing with state_dict and load_state_dict", thing
                )

    @property
    def file(self) -> Path:
        """The path, as a Path."""
        return Path(self.path)


def check_parts(model, loss, history, checkpoint, description) -> None:
    """Raise a ValueError unless these are what `fit` takes."""
    checks.module("model", model)
    checks.function("loss", loss, "a function of model, batch and generator")
    if history is not None:
        checks.instance("history", history, History, "a History or None")
    if checkpoint is not None:
        what = 'a Checkpointing or None, for instance Checkpointing("last.pt", resume=True)'
        checks.instance("checkpoint", checkpoint, Checkpointing, what)
    if description is not None:
        _check_by_name("description", description)


def check_together(settings: Settings, hooks: Hooks, checkpoint: Checkpointing | None) -> None:
    """Raise a ValueError if arguments of `fit` do not go together."""
    for method in held_by([hooks.before_step, hooks.after_step], StepMethod):
        name = type(method).__name__
        if settings.accumulate > 1:
            raise ValueError(
                f"{name} takes its own step on one batch as a whole, not on parts that are "
                "accumulated; leave accumulate out and take a smaller batch_size"
            )
        if settings.clip_norm is not None and method.clips:
            raise ValueError(
                f"{name} differentiates the step, and clips it itself; give it clip_norm, not fit"
            )
    if checkpoint is not None and checkpoint.every is not None and not settings.batches.ordered:
        raise ValueError(
            "every saves within an epoch, and a run cannot go on there with a loader whose order "
            "is its own; leave every out, or give the data set, or a DataLoader with shuffle=True"
        )


def _check_by_name(name: str, value: Any) -> None:
    checks.instance(name, value, Mapping, "a dictionary by name, or None")
