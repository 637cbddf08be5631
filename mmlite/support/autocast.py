"""Arithmetic that autocast must not round."""

from contextlib import AbstractContextManager, nullcontext

import torch


def unrounded(device: torch.device) -> AbstractContextManager:
    """Return a context in which operations on a device keep the types of what they are given."""
    kind = device.type
    # to ask whether autocast is on costs a tenth of turning it off
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
