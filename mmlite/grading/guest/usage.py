"""What processes use, as /proc tells: memory, files without a name, time spent waiting to run.

A process may be gone while it is looked at; it then uses nothing. Its name may be any bytes.
"""

import contextlib
import os
import stat
from pathlib import Path


def too_much(pids: list[int], allowed: int, base: int) -> bool:
    """Whether processes hold more than `allowed` kB beyond `base`, which they share with others."""
    files = nameless_files(pids)
    rough = sum(kilobytes(pid, "RssAnon", "RssShmem") for pid in pids)
    if files + rough <= allowed:
        return False
    parts = ("Pss_Anon", "Pss_Shmem")
    exact = sum(kilobytes(pid, *parts, file="smaps_rollup") for pid in pids)
    return files + exact - base > allowed


def nameless_files(pids: list[int]) -> int:
    """Return the kB of open files without a name."""
    sizes = {}
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    file = os.stat(f"{folder}/{name}")
                    if stat.S_ISREG(file.st_mode) and file.st_nlink == 0:
                        sizes[file.st_dev, file.st_ino] = file.st_blocks // 2
    return sum(sizes.values())


def kilobytes(pid: int | str, *fields: str, file: str = "status") -> int:
    """Return the sum of fields of /proc/PID/FILE in kB."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_bytes().splitlines()
    except OSError:
        return 0
    wanted = {field.encode() for field in fields}
    return sum(int(line.split()[1]) for line in lines if line.partition(b":")[0] in wanted)


def bytes_below(folder: str) -> int:
    """Return the bytes that a folder's files take."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total


def all_but_the_first() -> list[int]:
    """Return the processes of a namespace whose /proc this is."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal() and name != "1"]
    except OSError:
        return []


def descendants(of: int | None = None) -> list[int]:
    """Return a process's descendants, this one's by default, by the parents that /proc tells."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError):
                after_name = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(name))
    found, queue = [], [os.getpid() if of is None else of]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def seconds_waited(pids: list[int]) -> float:
    """Return how long the unluckiest of some processes was ready to run and no processor was free.

    Only their main threads count: a process that starts many threads waits for itself.
    """
    waited = [0]
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            waited.append(int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1]))
    return max(waited) / 1e9
