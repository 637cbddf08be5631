"""Memory that stays with the process while it computes on a CPU.

glibc gives every large block back to the kernel as soon as it is freed, and what a layer returns is
a large block: so each training step asks for the same pages again, and the kernel has to clear them
again. On 2 CPU cores that is a tenth of a step of `small_conv` (`benchmarks/memory.py`).

    with kept_memory():
        ...  # the same values, faster

Other C libraries (macOS, Windows, musl) are left as they are, and so is a glibc whose allocator has
been tuned through the environment. Afterwards what is free goes back to the kernel, and glibc keeps
the thresholds that it would have come to by itself after large blocks.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# of malloc.h; the third is the greatest value that glibc moves to by itself
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
MOST_MMAPS, LARGE = 65_536, 32 * 2**20  # glibc's own: blocks from the kernel, bytes from which on

TUNED = {f"MALLOC_{what}_" for what in ("TRIM_THRESHOLD", "TOP_PAD", "MMAP_THRESHOLD", "MMAP_MAX")}

_lock = threading.Lock()
_depth = 0


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep what is freed within this context for the next that is asked for; then give it back."""
    global _depth
    libc = _glibc()
    if libc is None:
        yield
        return
    with _lock:
        _depth += 1
        if _depth == 1:
            libc.mallopt(M_MMAP_MAX, 0)  # no blocks straight from the kernel
            libc.mallopt(M_TRIM_THRESHOLD, -1)  # never shrink
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                libc.mallopt(M_MMAP_MAX, MOST_MMAPS)
                libc.mallopt(M_MMAP_THRESHOLD, LARGE)
                libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGE)
                libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, and nobody has tuned its allocator."""
    tuned = TUNED & os.environ.keys() or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if os.name != "posix" or tuned:
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def _start_anew() -> None:
    """Let a forked child, of whose parent's threads only one goes on, begin outside the context."""
    global _lock, _depth
    _lock, _depth = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
