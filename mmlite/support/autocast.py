"""Arithmetic that autocast must not round."""

from contextlib import AbstractContextManager, nullcontext

import torch


def unrounded(device: torch.device) -> AbstractContextManager:
    """Return a context in which operations on a device keep the types of what they are given."""
    kind = device.type
    if kind == "meta":  # which autocast does not know
        return nullcontext()
    # to ask whether autocast is on costs a tenth of turning it off, but not every compiler can
    if torch.compiler.is_compiling() or torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
