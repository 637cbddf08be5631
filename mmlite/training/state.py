"""Everything that a run goes on from, and what tells one run from another."""

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mmlite import distributed
from mmlite.data import ImageSet
from mmlite.support.rng import Own, RngState
from mmlite.training.checkpoints import CheckpointError, CheckpointWarning, load_checkpoint
from mmlite.training.history import History

PIECE = 2**22  # bytes of images whose checksum is taken at a time


class Stateful(Protocol):
    """What a checkpoint can keep: a module, an optimizer, a `MetaMask`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


@dataclass
class RunState:
    """Everything that a run goes on from.

    Attributes:
        stateful: the model, the optimizer, the schedule and what the caller adds, by name.
        generator: draws the order of the images and the views.
        history: its losses are kept; its times are of one sitting.
        device: the model's.
        own: generators of the model, the loss and the hooks beside the global ones.
        step: steps taken.
        told: epochs that `on_epoch` has been told of.
        order: of the images in this epoch, int64 [N].
        stopped: `on_epoch` has ended the run.
    """

    stateful: dict[str, Stateful]
    generator: torch.Generator
    history: History
    device: torch.device
    own: list[Own] = field(default_factory=list)
    step: int = 0
    told: int = 0
    order: Tensor | None = None
    stopped: bool = False

    @property
    def within_epoch(self) -> int:
        """Steps taken in this epoch; 0 between two epochs."""
        return self.step % self.history.steps_per_epoch

    def order_of_epoch(self, count: int) -> Tensor:
        """Return the order of this epoch's images, int64 [N], drawn as the epoch begins."""
        if not self.within_epoch:
            self.order = torch.randperm(count, generator=self.generator)
        assert self.order is not None  # drawn as the epoch began, and kept by checkpoints
        return self.order

    def state_dict(self) -> dict[str, Any]:
        return {
            "parts": {name: thing.state_dict() for name, thing in self.stateful.items()},
            "generator": self.generator.get_state(),
            "random": distributed.all_gather_objects(
                RngState.now(self.device, self.own).state_dict()
            ),
            "loss": torch.tensor(self.history.loss, dtype=torch.float64),
            "images_per_second": self.history.images_per_second,
            "step": self.step,
            "told": self.told,
            "order": self.order,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, thing in self.stateful.items():
            thing.load_state_dict(state["parts"][name])
        self.generator.set_state(state["generator"])
        if distributed.rank() < len(state["random"]):  # more processes than there were draw anew
            random = state["random"][distributed.rank()]
            RngState.from_state_dict(random, self.device, self.own).restore()
        self.history.known[:] = state["loss"].tolist()
        self.history.images_per_second = state["images_per_second"]
        self.step, self.told, self.order = state["step"], state["told"], state["order"]
        self.stopped = state["stopped"]

    def resume(self, path: str | Path, settings: Mapping[str, Any], longer: bool = False) -> None:
        """Go on from a checkpoint of this very run; warn if it is not the newest.

        Args:
            path: the checkpoint.
            settings: what tells this run from others.
            longer: let it be of a run of fewer epochs, also of one that was ended early.
        """
        found = distributed.broadcast_result(lambda: load_checkpoint(path, set_aside=True))
        found.check(_at_length_of(found.description, settings) if longer else settings)
        if found.note and distributed.rank() == 0:
            warnings.warn(found.note, CheckpointWarning, stacklevel=6)
        try:
            self.load_state_dict(found.state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{found.path} holds another model or method than this run ({error})"
            ) from error
        if longer:
            self.stopped = False


def _at_length_of(shorter: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a run from others as its checkpoint of fewer epochs would have it."""
    told = dict(settings)
    if shorter.get("epochs", 0) <= told["epochs"]:
        told["epochs"] = shorter.get("epochs")
    kinds = [str(of.get("schedule")).partition(":")[0] for of in (shorter, told)]
    if kinds[0] == kinds[1] and "schedule" in shorter:
        told["schedule"] = shorter["schedule"]  # its numbers may depend on the length
    return told


def fingerprint(images: ImageSet) -> str:
    """Return the images' name, number, shape and checksum: what a run may be resumed on.

    In pieces, so that images that lie in a file stay there.
    """
    shape = "×".join(str(n) for n in images.images.shape)
    checksum = 0
    rows = max(1, PIECE // max(1, images.images[:1].numel()))
    for piece in images.images.split(rows):
        checksum = zlib.crc32(piece.cpu().contiguous().numpy(), checksum)
    return f"{images.name} {shape} {checksum:08x}"
