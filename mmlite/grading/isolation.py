"""How the system is asked to hold a student's process: namespaces, limits, a keeper, a clean end.

This file runs on the sandbox's side, in the process that a submission's worker is forked from. On
Linux, where the kernel lets an ordinary user make namespaces, a worker sees a file system of
Python and nothing else, no network, and no process but its own. Elsewhere limits and a keeper that
ends what the worker leaves have to do. Torch is not needed here; the standard library is.
"""

import contextlib
import ctypes
import os
import platform
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SET_PDEATHSIG, SET_DUMPABLE, CAPBSET_DROP, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 1, 4, 24, 36, 38
NOBODY = 64850  # a user without name or files, for workers of a grader that is root
FOLDER = 64 << 20  # bytes that fit into a worker's folder
FILE = 16 << 20  # bytes of one file
FILES = 128  # open at once
PROCESSES = 64  # processes and threads at once
LOOK = 0.05  # seconds between two looks at memory and processes
# how a keeper ends, beside the exit codes of a worker
TOO_MUCH_MEMORY, TOO_MANY_PROCESSES, TOO_MUCH_DISK, NO_SANDBOX = 250, 251, 252, 253


@dataclass(frozen=True)
class Limits:
    """What a worker may use.

    Attributes:
        seconds: of CPU time in one process.
        memory: bytes of all its processes together, beyond what torch takes.
    """

    seconds: int
    memory: int


class IsolationError(Exception):
    """The system refuses something that the sandbox asks for."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(what: str, result: int) -> None:
    if result == -1:
        raise IsolationError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _call(f"mount {target}", _libc().mount(*encoded, ctypes.c_ulong(flags), data.encode()))


def _unshare(flags: int) -> None:
    _call("unshare", _libc().unshare(flags))


def _prctl(option: int, value: int) -> None:
    _call("prctl", _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _own_user_namespace(others: int) -> None:
    """Enter new namespaces as the same user, called root in there, whose power ends with them."""
    user, group = os.geteuid(), os.getegid()
    _prctl(SET_DUMPABLE, 1)  # a process that changed its user may not write its maps otherwise
    _unshare(NEWUSER | others)
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
    if platform.machine() not in PIVOT_ROOT:
        raise IsolationError(f"namespaces are not set up for {platform.machine()}")
    is_root = os.geteuid() == 0
    if is_root:
        _unshare(NEWNS)
    else:
        _own_user_namespace(NEWNS)
    _mount("none", "/", None, REC | PRIVATE)
    _mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    # outer folders first, so that a hidden folder may itself hold a readable one
    for path in sorted({*readable, *hidden}, key=len):
        if path in readable:
            _show(path, root)
        elif any(Path(path).is_relative_to(shown) for shown in readable):
            _hide(path, root)
    os.makedirs(f"{root}/proc")
    _mount("/proc", f"{root}/proc", None, BIND | REC)
    for folder in ("tmp", "dev/shm"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    # importing torch wants a temporary folder; a worker gets one of its own over it
    _mount("tmpfs", f"{root}/tmp", "tmpfs", NOSUID | NODEV, "size=1m,mode=1777")
    os.chdir(root)
    number = ctypes.c_long(PIVOT_ROOT[platform.machine()])
    _call("pivot_root", _libc().syscall(number, b".", b"."))
    _call("umount", _libc().umount2(b".", DETACH))
    os.chdir("/")
    _mount("none", "/", None, REMOUNT | RDONLY | NOSUID | NODEV)
    if is_root:
        become(NOBODY)


def _hide(path: str, root: str) -> None:
    if os.path.isdir(root + path):
        _mount("tmpfs", root + path, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")


def _show(path: str, root: str) -> None:
    if not os.path.lexists(path):
        return
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        Path(target).touch()
    _mount(path, target, None, BIND | REC)
    kept = os.statvfs(target).f_flag & (NOSUID | NODEV | NOEXEC)  # a user may not loosen these
    # devices stay usable: null and urandom are among what is shown
    device = stat.S_ISCHR(os.stat(target).st_mode)
    flags = REMOUNT | BIND | RDONLY | NOSUID | kept | (0 if device else NODEV)
    _mount("none", target, None, flags)


def become(user: int) -> None:
    """Give up root for a user without name or files."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def keep(
    work: Callable[[], None], limits: Limits, ended: int, namespaces: bool, user: int | None
) -> int:
    """Run `work` in a worker of its own, watch it, and leave no process of it.

    Nor a file: in namespaces all that it writes ends with them. Without them its folder is removed,
    and what a `user` of its own left where everybody may write; of a worker that is the grader's
    own user, files outside its folder cannot be told from others, and stay.

    Args:
        work: what the worker does.
        limits: what it may use.
        ended: a file descriptor; when its other end closes, the worker is ended.
        namespaces: hold it in namespaces of its own.
        user: becomes this user without them, if not None.

    Returns:
        The worker's exit code (128 + the signal that ended it), or one of TOO_MUCH_MEMORY,
        TOO_MANY_PROCESSES, TOO_MUCH_DISK and NO_SANDBOX.
    """
    if namespaces:
        return _keep_in_namespaces(work, limits, ended)
    return _keep_plainly(work, limits, ended, user)


def _keep_in_namespaces(work: Callable[[], None], limits: Limits, ended: int) -> int:
    try:
        _own_user_namespace(NEWNS | NEWPID | NEWIPC | NEWNET | NEWUTS)
    except (IsolationError, OSError):
        return NO_SANDBOX
    first = os.fork()
    if first == 0:  # process 1 of the new namespace: when it ends, the kernel ends all others
        exit_with(lambda: _be_first(work, limits, ended))
    code = _watch(first, limits, ended, _code, _others_in_proc, None)
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(first, 0)  # returns when the namespace is empty
    return code


def _be_first(work: Callable[[], None], limits: Limits, ended: int) -> int:
    os.close(ended)
    _prctl(SET_PDEATHSIG, signal.SIGKILL)
    try:
        _mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)
        sizes = f"size={FOLDER},nr_inodes=4096,mode=700"
        _mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, sizes)
        _mount("tmpfs", "/dev/shm", "tmpfs", NOSUID | NODEV | NOEXEC, sizes)
        # in namespaces of its own making it could fill a tmpfs that nobody limits
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
    except (IsolationError, OSError):
        return NO_SANDBOX
    give_up_capabilities()
    _prctl(SET_DUMPABLE, 0)  # the worker is the same user; it shall not look in here
    worker = os.fork()
    if worker == 0:
        _prctl(SET_DUMPABLE, 1)
        exit_with(lambda: _be_worker(work, limits, "/tmp", None, others=0))
    os.closerange(3, 1024)  # nothing of the worker's stays open here
    return _reap(worker)


def _reap(worker: int) -> int:
    """Wait for children, orphans too, until `worker` ends; return its exit code."""
    while True:
        pid, status = os.wait()
        if pid == worker:
            return _code_of_worker(status)


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _code_of_worker(status: int) -> int:
    """Return how a worker ended; the code it chose says nothing, for it could be a keeper's."""
    return _code(status) if os.WIFSIGNALED(status) else 1


def _keep_plainly(work: Callable[[], None], limits: Limits, ended: int, user: int | None) -> int:
    if sys.platform == "linux":
        _prctl(SET_CHILD_SUBREAPER, 1)  # what the worker's children leave comes to this process
    folder = tempfile.mkdtemp(prefix="mmlite-")
    if user is not None:
        os.chown(folder, user, user)
    worker = os.fork()
    if worker == 0:
        os.close(ended)
        others = _tasks_of(os.geteuid()) if user is None else 0
        exit_with(lambda: _be_worker(work, limits, folder, user, others))
    try:
        return _watch(worker, limits, ended, _code_of_worker, _descendants, folder)
    finally:
        _end_all(worker)
        _remove(folder)
        if user is not None:
            _remove_files_of(user)


def _end_all(worker: int) -> None:
    """Kill the worker's process group and every descendant, until none is left."""
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGKILL)
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _remove(folder: str) -> None:
    subprocess.run(["chmod", "-R", "u+rwx", folder], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.exists(folder):  # nested too deeply for Python
        subprocess.run(["rm", "-rf", folder], stderr=subprocess.DEVNULL, check=False)


def _remove_files_of(user: int) -> None:
    """Remove what a user left where everybody may write; a link is unlinked, never followed."""
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):  # there is no such folder
            for entry in list(os.scandir(place)):
                with contextlib.suppress(OSError):  # it is gone
                    if entry.stat(follow_symlinks=False).st_uid != user:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        _remove(entry.path)
                    else:
                        os.unlink(entry.path)


def exit_with(run: Callable[[], int | None]) -> None:
    """End this process by what `run` returns, whatever happens in it."""
    code = 1
    try:
        code = run() or 0
    finally:
        os._exit(code)


def _be_worker(
    work: Callable[[], None], limits: Limits, folder: str, user: int | None, others: int
) -> None:
    os.setsid()
    os.chdir(folder)
    home = {"HOME": folder, "TMPDIR": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    os.environ.clear()
    os.environ.update(home, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    tempfile.tempdir = None
    set_limits(limits, others)
    if user is not None:
        become(user)
    if sys.platform == "linux":
        give_up_capabilities()
    work()


def set_limits(limits: Limits, others: int) -> None:
    """Bind this process to its limits; what it already has in memory counts for nothing.

    Args:
        others: processes and threads of this user that are not the worker's.
    """
    held = _kilobytes("self", "VmData") << 10 if sys.platform == "linux" else 0
    for which, most in (
        (resource.RLIMIT_CPU, limits.seconds),
        (resource.RLIMIT_DATA, held + limits.memory),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, others + PROCESSES),
    ):
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))


def _tasks_of(user: int) -> int:
    """Return how many processes and threads a user has, as far as /proc tells."""
    count = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        with contextlib.suppress(OSError):
            if name.isdecimal() and os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


def give_up_capabilities() -> None:
    """Drop every capability, those of a namespace too, for this process and what it starts."""
    _prctl(SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        _libc().prctl(CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one there is
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _call("capset", _libc().capset(header, (ctypes.c_uint32 * 6)()))


def _watch(
    child: int,
    limits: Limits,
    ended: int,
    code: Callable[[int], int],
    others: Callable[[], list[int]],
    folder: str | None,
) -> int:
    """Wait until the worker ends or is to be ended, and return how.

    Args:
        code: reads the child's exit status.
        others: finds the processes to count.
        folder: is measured, unless the file system it lies on is itself limited.
    """
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    base = _kilobytes("self", "RssAnon")
    while True:
        if poll.poll(LOOK * 1000):
            return 0
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return code(status)
        pids = others()
        if len(pids) > PROCESSES:
            return TOO_MANY_PROCESSES
        if _too_much(pids, limits.memory >> 10, base):
            return TOO_MUCH_MEMORY
        if folder is not None and _bytes_below(folder) > FOLDER:
            return TOO_MUCH_DISK


def _bytes_below(folder: str) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total


def _too_much(pids: list[int], allowed: int, base: int) -> bool:
    """Whether processes hold more than `allowed` kB beyond what they share with the zygote."""
    files = _nameless_files(pids) + _loose_segments()
    rough = sum(_kilobytes(pid, "RssAnon", "RssShmem") for pid in pids)
    if files + rough <= allowed:
        return False
    exact = sum(_kilobytes(pid, "Pss_Anon", "Pss_Shmem", file="smaps_rollup") for pid in pids)
    return files + exact - base > allowed


def _nameless_files(pids: list[int]) -> int:
    """Return the kB of open files without a name, as memfd_create makes them."""
    sizes = {}
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        with contextlib.suppress(OSError):  # it is gone
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    file = os.stat(f"{folder}/{name}")
                    if stat.S_ISREG(file.st_mode) and file.st_nlink == 0:
                        sizes[file.st_dev, file.st_ino] = file.st_blocks // 2
    return sum(sizes.values())


def _loose_segments() -> int:
    """Return the kB of shared memory of this namespace that no process has mapped."""
    try:
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()
    except OSError:
        return 0
    rows = [dict(zip(lines[0].split(), line.split(), strict=False)) for line in lines[1:]]
    return sum(int(row["rss"]) // 1024 for row in rows if row["nattch"] == "0")


def _kilobytes(pid: int | str, *fields: str, file: str = "status") -> int:
    """Return the sum of fields of /proc/PID/FILE in kB; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in fields)


def _others_in_proc() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal() and name != "1"]
    except OSError:
        return []


def _descendants() -> list[int]:
    """Return this process's descendants, by the parents that /proc tells."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError):
                after_name = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(name))
    found, queue = [], [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found
