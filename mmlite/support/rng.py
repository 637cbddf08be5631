"""The states of random generators: noted, put back, and kept in a file.

Layers, losses and views draw from more than torch's generators: stochastic depth from Python's
`random`, augmentations from NumPy, some modules from a generator of their own. `RngState` holds
all of these, so that a pass can be repeated and a stopped run goes on as if it had not stopped.
"""

import copy
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlite.support.reach import held_by

Own = torch.Generator | np.random.Generator | np.random.RandomState | random.Random


@dataclass(frozen=True)
class RngState:
    """What the random generators would draw next.

    Attributes:
        cpu: torch's state on the CPU, uint8.
        device: the device whose state is held too.
        on_device: its state, uint8 on the CPU; None for the CPU.
        python: the state of the module `random`.
        numpy: the state of NumPy's global generator.
        own: other generators, each with its state.
    """

    cpu: Tensor
    device: torch.device
    on_device: Tensor | None
    python: tuple
    numpy: dict[str, Any]
    own: list[tuple[Own, Any]] = field(default_factory=list)

    @classmethod
    def now(cls, device: torch.device, own: Iterable[Own] = ()) -> "RngState":
        """Note the present states.

        Args:
            device: where the modules compute.
            own: what `own_generators` found.
        """
        on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        numpy = np.random.get_state(legacy=False)  # noqa: NPY002, others draw from it
        states = [(generator, _state_of(generator)) for generator in own]
        return cls(torch.get_rng_state(), device, on_device, random.getstate(), numpy, states)

    def restore(self) -> None:
        """Put all states back."""
        torch.set_rng_state(self.cpu)
        if self.on_device is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(self.on_device, self.device)
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        for generator, state in self.own:
            _set_state(generator, state)

    def state_dict(self) -> dict[str, Any]:
        """Return the states as what a checkpoint can hold."""
        return {
            "cpu": self.cpu,
            "cuda": self.on_device,
            "python": self.python,
            "numpy": self.numpy,
            "own": [state for _, state in self.own],
        }

    @classmethod
    def from_state_dict(
        cls, state: dict[str, Any], device: torch.device, own: Iterable[Own] = ()
    ) -> "RngState":
        """Return the states that `state_dict` gave, for a device and generators.

        What an older file lacks, the state of another kind of device, and those of generators that
        are not as many as there were, are today's.
        """
        today = cls.now(device, own)
        kept = state.get("own", [])
        if len(kept) != len(today.own):
            kept = [one for _, one in today.own]
        return cls(
            state["cpu"],
            device,
            today.on_device if state["cuda"] is None else state["cuda"],
            state.get("python", today.python),
            state.get("numpy", today.numpy),
            [(generator, one) for (generator, _), one in zip(today.own, kept, strict=True)],
        )


def own_generators(*roots: Any) -> list[Own]:
    """Return the generators that modules and functions hold themselves, in a fixed order."""
    found = held_by(roots, Own)
    return [one for one in found if not isinstance(one, random.SystemRandom)]  # it has no state


def _state_of(generator: Own) -> Any:
    if isinstance(generator, np.random.Generator):
        return copy.deepcopy(generator.bit_generator.state)
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Own, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)
