"""Namespaces: a file system in which a process sees Python and nothing else."""

import ctypes
import os
import platform
import stat
from collections.abc import Iterable
from pathlib import Path

from mmlite.grading.guest import kernel
from mmlite.grading.guest.kernel import IsolationError, checked, libc
from mmlite.grading.guest.limits import FOLDER, NOBODY

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
OWN = ("/tmp", "/dev/shm")  # what a worker gets of its own, and other programs take for theirs


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount something.

    Raises:
        IsolationError: the system refuses.
    """
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    checked(f"mount {target}", libc().mount(*encoded, ctypes.c_ulong(flags), data.encode()))


def unshare(flags: int) -> None:
    """Enter new namespaces.

    Raises:
        IsolationError: the system refuses.
    """
    checked("unshare", libc().unshare(flags))


def own_user_namespace(others: int) -> None:
    """Enter new namespaces as the same user, called root in there, whose power ends with them."""
    user, group = os.geteuid(), os.getegid()
    # a process that changed its user may not write its maps otherwise
    kernel.prctl(kernel.SET_DUMPABLE, 1)
    unshare(NEWUSER | others)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def enter_root(root: str, readable: list[str], hidden: list[str]) -> None:
    """Move this process into a file system in which only `readable` is there, read-only.

    Args:
        root: an empty folder to mount it on.
        readable: files and folders to show.
        hidden: folders to cover with empty ones, should they lie in a readable one.

    Raises:
        IsolationError, OSError: the system does not allow it.
    """
    if "pivot_root" not in kernel.NUMBERS:
        raise IsolationError(f"namespaces are not set up for {platform.machine()}")
    is_root = os.geteuid() == 0
    if is_root:
        unshare(NEWNS)
    else:
        own_user_namespace(NEWNS)
    mount("none", "/", None, REC | PRIVATE)
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    # importing torch wants a temporary folder; a worker gets one of its own over it. It comes
    # first: Python may lie in there
    for folder in OWN:
        os.makedirs(root + folder)
    mount("tmpfs", f"{root}/tmp", "tmpfs", NOSUID | NODEV, "size=1m,mode=1777")
    # outer folders first, so that a hidden folder may itself hold a readable one
    for path in sorted({*readable, *hidden}, key=len):
        if path in readable:
            _show(path, root)
        elif any(Path(path).is_relative_to(shown) for shown in readable):
            _hide(path, root)
    os.makedirs(f"{root}/proc")
    mount("/proc", f"{root}/proc", None, BIND | REC)
    os.chdir(root)
    kernel.syscall("pivot_root", kernel.NUMBERS["pivot_root"], b".", b".")
    checked("umount", libc().umount2(b".", DETACH))
    os.chdir("/")
    mount("none", "/", None, REMOUNT | RDONLY | NOSUID | NODEV)
    if is_root:
        kernel.become(NOBODY)


def own_folders(readable: Iterable[str]) -> None:
    """Cover the folders that a worker writes into with empty ones, limited in size.

    Args:
        readable: what stays in sight, should it lie there.

    Raises:
        IsolationError, OSError: the system does not allow it.
    """
    inner = [p for p in readable if any(p.startswith(f"{folder}/") for folder in OWN)]
    kept = {path: os.open(path, os.O_PATH) for path in inner if os.path.exists(path)}
    for folder, flags in zip(OWN, (0, NOEXEC), strict=True):
        sizes = f"size={FOLDER},nr_inodes=4096,mode=700"
        mount("tmpfs", folder, "tmpfs", NOSUID | NODEV | flags, sizes)
    for path in sorted(kept, key=len):
        if not os.path.lexists(path):
            _make_place(path, os.path.isdir(f"/proc/self/fd/{kept[path]}"))
            mount(f"/proc/self/fd/{kept[path]}", path, None, BIND | REC)
        os.close(kept[path])


def _make_place(path: str, folder: bool) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if folder:
        os.makedirs(path, exist_ok=True)
    else:
        Path(path).touch()


def _hide(path: str, root: str) -> None:
    if os.path.isdir(root + path):
        mount("tmpfs", root + path, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")


def _show(path: str, root: str) -> None:
    if not os.path.lexists(path):
        return
    target = root + path
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path) or not os.path.lexists(target):
        _make_place(target, os.path.isdir(path))
    mount(path, target, None, BIND | REC)
    kept = os.statvfs(target).f_flag & (NOSUID | NODEV | NOEXEC)  # a user may not loosen these
    # devices stay usable: null and urandom are among what is shown
    device = stat.S_ISCHR(os.stat(target).st_mode)
    flags = REMOUNT | BIND | RDONLY | NOSUID | kept | (0 if device else NODEV)
    mount("none", target, None, flags)
