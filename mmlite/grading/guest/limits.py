"""What a worker may use, and how its system is told before the worker runs."""

import contextlib
import os
import resource
import sys
from dataclasses import dataclass

from mmlite.grading.guest import usage

NOBODY, USERS = 64850, 600  # users without name or files, for workers of a grader that is root
FOLDER = 64 << 20  # bytes that fit into a worker's folder
FILE = 16 << 20  # bytes of one file
FILES = 128  # open at once
PROCESSES = 64  # processes and threads at once


@dataclass(frozen=True)
class Limits:
    """What a worker may use.

    Attributes:
        seconds: of CPU time in one process.
        memory: bytes of all its processes together, beyond what torch takes.
    """

    seconds: int
    memory: int


def set_limits(limits: Limits, others: int) -> None:
    """Bind this process to its limits; what it already has in memory counts for nothing.

    Args:
        limits: what it may use.
        others: processes and threads of this user that are not the worker's.
    """
    held = usage.kilobytes("self", "VmData") << 10 if sys.platform == "linux" else 0
    # SIGXCPU at the limit, which says what it is, and the end a second later whatever it does of it
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    for which, most in (
        (resource.RLIMIT_DATA, held + limits.memory),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, others + PROCESSES),
    ):
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def tasks_of(user: int) -> int:
    """Return how many processes and threads a user has, as far as /proc tells."""
    count = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        with contextlib.suppress(OSError):
            if name.isdecimal() and os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count
