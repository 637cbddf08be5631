"""What torchrun tells the processes that it starts, through their environment.

Nothing here imports PyTorch, so that the command line answers at once.
"""

import os

NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


def world_size() -> int:
    """Return how many processes torchrun has started: `WORLD_SIZE`, 1 where it is empty or unset.

    Raises:
        ValueError: the variable is no number of processes.
    """
    return _number("WORLD_SIZE", 1, least=1)


def local_rank() -> int:
    """Return this process's number on its machine: `LOCAL_RANK`, 0 where it is empty or unset.

    Raises:
        ValueError: the variable is no number.
    """
    return _number("LOCAL_RANK", 0, least=0)


def check_variables() -> None:
    """Raise a ValueError if there are several processes, but not as torchrun starts them."""
    number = world_size()
    if number == 1:
        return
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        raise ValueError(
            f"the variable WORLD_SIZE is {number}, but {', '.join(missing)} is not set; start "
            "several processes with torchrun, or unset WORLD_SIZE"
        )
    rank = _number("RANK", 0, least=0)
    _number("MASTER_PORT", 0, least=0)
    if rank >= number:
        raise ValueError(
            f"the variable RANK is {rank}, but WORLD_SIZE is {number}, so it must be below that; "
            "start several processes with torchrun"
        )


def _number(name: str, default: int, least: int) -> int:
    told = os.environ.get(name, "").strip()
    if told and not (told.isascii() and told.isdecimal() and int(told) >= least):
        raise ValueError(
            f"the variable {name} must be a whole number of at least {least}, got {told!r}; start "
            "several processes with torchrun, or unset it"
        )
    return int(told or default)
