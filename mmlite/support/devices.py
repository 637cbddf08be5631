"""Where to work: the GPU that is there, or what `MMLITE_DEVICE` says."""

import os

import torch

from mmlite.support import checks


def device() -> torch.device:
    """Return the device to work on: `MMLITE_DEVICE` if set, else cuda, then mps, then cpu.

    Raises:
        ValueError: `MMLITE_DEVICE` names no device that this machine has.

    Example:
        >>> mmlite.device().type in ("cpu", "cuda", "mps")
        True
    """
    wanted = os.environ.get("MMLITE_DEVICE")
    if not wanted:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return checks.device("MMLITE_DEVICE", wanted)
    except ValueError as error:
        raise ValueError(f"{error}; set it to cpu, cuda, cuda:0 or mps, or unset it") from error
