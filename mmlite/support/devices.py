"""Where to work: the GPU that is there, or what `MMLITE_DEVICE` says."""

import os
import platform
import re
from pathlib import Path

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


def machine() -> str:
    """Return the processor, its cores and torch's version: where a time was measured."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(), flags=re.MULTILINE)
        model = names[0].strip() if names else model
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores{gpu}, torch {torch.__version__.split('+')[0]}"
