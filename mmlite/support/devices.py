"""Where to work: the GPU that is there, or what `MMLITE_DEVICE` says."""

import os

import torch


def device() -> torch.device:
    """Return the device to work on: `MMLITE_DEVICE` if set, else cuda, then mps, then cpu.

    Raises:
        ValueError: `MMLITE_DEVICE` names no device that this machine has.
    """
    wanted = os.environ.get("MMLITE_DEVICE")
    if not wanted:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
        torch.empty(1, device=chosen)
    # torch reports an unknown name, an absent driver and an index too high in three ways
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"MMLITE_DEVICE={wanted!r} is not a device of this machine "
            f"({str(error).splitlines()[0]}); set it to cpu, cuda, cuda:0 or mps, or unset it"
        ) from error
    return chosen
