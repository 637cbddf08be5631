"""The process that runs a worker, watches it, and leaves nothing of it behind.

This runs on the sandbox's side, in the process that a submission's worker is forked from. On Linux,
where the kernel lets an ordinary user make namespaces, a worker sees a file system of Python and
nothing else, no network, and no process but its own. Elsewhere Landlock holds its hands off other
files, where there is Landlock; and limits, and a keeper that ends what the worker leaves.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mmlite.grading.guest import kernel, landlock, mounts, seccomp, usage
from mmlite.grading.guest.kernel import IsolationError
from mmlite.grading.guest.limits import FOLDER, PROCESSES, Limits, set_limits, tasks_of

LOOK = 0.05  # seconds between two looks at memory and processes
# how a keeper ends, beside the exit codes of a worker
TOO_MUCH_MEMORY, TOO_MANY_PROCESSES, TOO_MUCH_DISK, NO_SANDBOX = 250, 251, 252, 253


@dataclass(frozen=True)
class Plan:
    """How workers are held.

    Attributes:
        isolation: "namespaces", each in its own; "landlock", and limits; or "limits" alone.
        readable: files and folders that it may read.
        hidden: what it may not, should it lie in a readable folder.
    """

    isolation: str
    readable: list[str]
    hidden: list[str]


def keep(work: Callable[[], None], limits: Limits, ended: int, plan: Plan, user: int | None) -> int:
    """Run `work` in a worker of its own, watch it, and leave no process of it.

    Nor a file: in namespaces all that it writes ends with them. Without them its folder is removed,
    and what a `user` of its own left where everybody may write; of a worker that is the grader's
    own user, files outside its folder cannot be told from others, and stay. (Landlock lets it write
    into its own folder only.)

    Args:
        work: what the worker does.
        limits: what it may use.
        ended: a file descriptor; when its other end closes, the worker is ended.
        plan: how it is held.
        user: becomes this user without namespaces, if not None.

    Returns:
        The worker's exit code (128 + the signal that ended it), or one of TOO_MUCH_MEMORY,
        TOO_MANY_PROCESSES, TOO_MUCH_DISK and NO_SANDBOX.
    """
    if plan.isolation == "namespaces":
        return _keep_in_namespaces(work, limits, ended, plan)
    return _keep_plainly(work, limits, ended, plan, user)


# in namespaces


def _keep_in_namespaces(work: Callable[[], None], limits: Limits, ended: int, plan: Plan) -> int:
    try:
        mounts.own_user_namespace(
            mounts.NEWNS | mounts.NEWPID | mounts.NEWIPC | mounts.NEWNET | mounts.NEWUTS
        )
    except (IsolationError, OSError):
        return NO_SANDBOX
    mounted, say_mounted = os.pipe()
    first = os.fork()
    if first == 0:  # process 1 of the new namespace: when it ends, the kernel ends all others
        os.close(ended)
        exit_with(lambda: _be_first(work, limits, plan, say_mounted))
    os.close(say_mounted)
    code = _watch(first, limits, ended, _code, usage.all_but_the_first, None, mounted)
    with contextlib.suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(first, 0)  # returns when the namespace is empty
    return code


def _be_first(work: Callable[[], None], limits: Limits, plan: Plan, say_mounted: int) -> int:
    kernel.prctl(kernel.SET_PDEATHSIG, signal.SIGKILL)
    try:
        # until then /proc shows the keeper the processes of the whole machine
        nothing = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
        mounts.mount("proc", "/proc", "proc", nothing)
        mounts.own_folders(plan.readable)
        # in namespaces of its own making it could fill a tmpfs that nobody limits
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
    except (IsolationError, OSError):
        return NO_SANDBOX
    os.write(say_mounted, b"1")
    os.close(say_mounted)
    kernel.give_up_capabilities()
    kernel.prctl(kernel.SET_DUMPABLE, 0)  # the worker is the same user; it shall not look in here
    worker = os.fork()
    if worker == 0:
        kernel.prctl(kernel.SET_DUMPABLE, 1)
        exit_with(lambda: _be_worker(work, limits, "/tmp", None, 0, plan))
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


# by limits, and Landlock where it is


def _keep_plainly(
    work: Callable[[], None], limits: Limits, ended: int, plan: Plan, user: int | None
) -> int:
    if sys.platform == "linux":
        # what the worker's children leave comes to this process
        kernel.prctl(kernel.SET_CHILD_SUBREAPER, 1)
    folder = tempfile.mkdtemp(prefix=f"mmlite-{os.getsid(0)}-")  # the sandbox's session
    if user is not None:
        os.chown(folder, user, user)
    mounted, say_mounted = os.pipe()
    os.write(say_mounted, b"1")  # there is nothing to wait for
    worker = os.fork()
    if worker == 0:
        os.close(ended)
        others = tasks_of(os.geteuid()) if user is None else 0
        exit_with(lambda: _be_worker(work, limits, folder, user, others, plan))
    try:
        return _watch(worker, limits, ended, _code_of_worker, usage.descendants, folder, mounted)
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
        for pid in usage.descendants():
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


# the worker


def exit_with(run: Callable[[], int | None]) -> NoReturn:
    """End this process by what `run` returns, whatever happens in it."""
    code = 1
    try:
        code = run() or 0
    finally:
        os._exit(code)


def _be_worker(
    work: Callable[[], None],
    limits: Limits,
    folder: str,
    user: int | None,
    others: int,
    plan: Plan,
) -> None:
    os.setsid()
    os.chdir(folder)
    home = {"HOME": folder, "TMPDIR": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    os.environ.clear()
    os.environ.update(home, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    tempfile.tempdir = None
    set_limits(limits, others)
    # Python may lie where its new user may not read, as in root's home: Landlock, which is there
    # for no other file, makes it safe to let it read all the same
    kept = None
    if plan.isolation == "landlock":
        landlock.confine(plan.readable, plan.hidden, [folder, "/dev/null"])
        kept = kernel.DAC_READ_SEARCH if user is not None else None
    if user is not None:
        kernel.become(user, kept)
    if sys.platform == "linux":
        kernel.give_up_capabilities(kept)
    if kernel.NUMBERS:
        seccomp.deny()
    work()


def _watch(
    child: int,
    limits: Limits,
    ended: int,
    code: Callable[[int], int],
    others: Callable[[], list[int]],
    folder: str | None,
    mounted: int,
) -> int:
    """Wait until the worker ends or is to be ended, and return how.

    Args:
        child: the process to wait for.
        limits: what the worker may use.
        ended: readable when the worker is to be ended.
        code: reads the child's exit status.
        others: finds the processes to count.
        folder: is measured, unless the file system it lies on is itself limited.
        mounted: readable from when on `others` finds the worker's processes and no others.
    """
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(mounted, select.POLLIN)
    counted = False
    base = usage.kilobytes("self", "RssAnon")
    while True:
        ready = {fd for fd, _ in poll.poll(LOOK * 1000)}
        if ended in ready:
            return 0
        if mounted in ready:
            poll.unregister(mounted)
            counted = os.read(mounted, 1) == b"1"
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return code(status)
        if counted and (fault := _over(limits, others(), base, folder)):
            return fault


def _over(limits: Limits, pids: list[int], base: int, folder: str | None) -> int:
    """Return which limit processes are over, as a keeper's exit code, or 0."""
    if len(pids) > PROCESSES:
        return TOO_MANY_PROCESSES
    if usage.too_much(pids, limits.memory >> 10, base):
        return TOO_MUCH_MEMORY
    if folder is not None and usage.bytes_below(folder) > FOLDER:
        return TOO_MUCH_DISK
    return 0
