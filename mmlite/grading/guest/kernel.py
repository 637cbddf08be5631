"""What the sandbox asks of Linux by number: system calls that Python's library does not have."""

import ctypes
import os
import platform
import sys

# of the machines that the sandbox knows; on others it does without
NUMBERS = {
    "x86_64": {"pivot_root": 155, "landlock": 444, "seccomp": 317, "audit_arch": 0xC000003E},
    "aarch64": {"pivot_root": 41, "landlock": 444, "seccomp": 277, "audit_arch": 0xC00000B7},
}.get(platform.machine() if sys.platform == "linux" else "", {})
SET_PDEATHSIG, SET_DUMPABLE, SET_KEEPCAPS, CAPBSET_DROP = 1, 4, 8, 24
SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS, CAP_AMBIENT, CAP_AMBIENT_RAISE = 36, 38, 47, 2
DAC_READ_SEARCH = 2  # a capability: to read what others may not


class IsolationError(Exception):
    """The system refuses something that the sandbox asks for."""


def libc() -> ctypes.CDLL:
    """Return the C library."""
    return ctypes.CDLL(None, use_errno=True)


def checked(what: str, result: int) -> int:
    """Return a call's result.

    Raises:
        IsolationError: the call failed; `what` names it.
    """
    if result == -1:
        raise IsolationError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def syscall(name: str, number: int, *arguments) -> int:
    """Make a system call.

    Raises:
        IsolationError: it failed.
    """
    return checked(name, libc().syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, value: int, *more: int) -> None:
    """Set an attribute of this process.

    Raises:
        IsolationError: it failed.
    """
    longs = [ctypes.c_ulong(number) for number in (value, *more, 0, 0, 0)[:4]]
    checked("prctl", libc().prctl(option, *longs))


def give_up_capabilities(kept: int | None = None) -> None:
    """Drop every capability, those of a namespace too, for this process and what it starts.

    Args:
        kept: one that stays, if it is there.
    """
    prctl(SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        libc().prctl(CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one there is
    _set_capabilities(0 if kept is None else 1 << kept)
    if kept is not None:
        prctl(CAP_AMBIENT, CAP_AMBIENT_RAISE, kept)


def _set_capabilities(mask: int) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask)  # effective, permitted, inheritable
    checked("capset", libc().capset(header, sets))


def become(user: int, kept: int | None = None) -> None:
    """Give up root for a user without name or files.

    Args:
        user: its number, and that of its group.
        kept: a capability that stays until `give_up_capabilities`.
    """
    if kept is not None:
        prctl(SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if kept is not None:
        _set_capabilities(1 << kept)
