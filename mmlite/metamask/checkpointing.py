"""Activation checkpointing turned off where it cannot be right.

`torch.utils.checkpoint` computes a part of the network again in the backward pass, with the
parameters that the modules have *then*. What is differentiated twice is computed again after they
were put back; and a reentrant checkpoint knows neither forward mode nor `torch.autograd.grad`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import checkpoint as checkpointing


class _Plain:
    """Stands in for a reentrant checkpoint: the function as it is."""

    @staticmethod
    def apply(function: Any, preserve: bool, *arguments: Any) -> Any:
        return function(*arguments)


def _nothing(*arguments: Any, **options: Any) -> Iterator[None]:
    """Stands in for what runs before and after a function whose checkpoint is not reentrant."""
    yield


_REENTRANT = {"CheckpointFunction": _Plain}
_OTHERS = {  # by the names that versions of torch gave it
    name: _nothing
    for name in (
        "_checkpoint_without_reentrant_generator",
        "_checkpoint_without_reentrant_generator_impl",
    )
    if hasattr(checkpointing, name)
}


@contextmanager
def without_checkpointing(reentrant_only: bool = False) -> Iterator[None]:
    """Let what is checkpointed run as it is within this context, and keep its activations.

    Args:
        reentrant_only: leave checkpoints with `use_reentrant=False` alone.
    """
    stand_ins = _REENTRANT if reentrant_only else _REENTRANT | _OTHERS
    before = {name: getattr(checkpointing, name) for name in stand_ins}
    for name, stand_in in stand_ins.items():
        setattr(checkpointing, name, stand_in)
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(checkpointing, name, original)
