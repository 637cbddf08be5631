"""The grader's side of the sandbox: start it, start workers in it, start it anew if it is gone."""

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmlite.course.notebooks import LessonError
from mmlite.grading import wire
from mmlite.grading.guest import landlock, limits
from mmlite.grading.guest.keeper import Plan
from mmlite.grading.guest.worker import PEERS
from mmlite.grading.host import trial
from mmlite.grading.host.remote import START, GraderFault, Oracle, Settings, Worker

ROOT = Path(__file__).resolve().parents[3]  # what `import mmlite` is found in
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
# what holds a worker, the tightest first
ISOLATIONS = {
    "namespaces": (
        "namespaces: a file system of Python alone, an empty folder in memory, no network, no "
        "process but its own"
    ),
    "landlock": (
        "Landlock and limits: a process group of its own, ended with all it started, that reads "
        "Python's files and writes into its own folder alone; it could use the network, but for "
        "TCP where the kernel can refuse it"
    ),
    "limits": (
        "limits only: a process group of its own with an empty folder, ended with all it started; "
        "it could read files, write where everybody may (into the folder of marks too, where it "
        "is the grader's own user), use the network, and stop the grader's processes"
    ),
}


class Sandbox:
    """A warm process that workers are forked from, held as tightly as the system allows.

    Attributes:
        isolation: what holds a worker, one of `ISOLATIONS`.
        description: the same in a sentence, and why nothing tighter does.

    Args:
        hidden: folders that a worker must not see, should they lie where Python's files are.
        isolation: one of `ISOLATIONS`; by default the first that the system offers.

    Raises:
        LessonError: it does not start, or an answer does not run in it as it should.
    """

    def __init__(self, hidden: tuple[Path, ...] = (), isolation: str | None = None):
        self._lock, self._slots, self._closed = threading.Lock(), 0, False
        hidden = (ROOT / "mmlite", *hidden, *folders_of(PEERS))
        self._hidden = [str(path.resolve()) for path in hidden]
        reasons = []
        for kind in ISOLATIONS if isolation is None else (isolation,):
            try:
                self._start(kind)
                trial.check(self)
            except (LessonError, GraderFault, OSError, wire.WireError) as error:
                self._stop()
                reasons.append(f"{kind}: {error}")
                continue
            self.description = ". Not in ".join([ISOLATIONS[kind], *reasons])
            return
        raise LessonError(f"the sandbox does not start ({'; '.join(reasons)}); nothing was marked")

    @staticmethod
    def _is_root() -> bool:
        return hasattr(os, "geteuid") and os.geteuid() == 0

    def _start(self, isolation: str) -> None:
        self.isolation = isolation
        self._process: subprocess.Popen | None = None
        self._control, theirs = socket.socketpair()
        self._root = tempfile.mkdtemp(prefix="mmlite-root-")
        if (lacking := _lacking(isolation)) is not None:
            theirs.close()
            raise LessonError(lacking)
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
            "from mmlite.grading.guest.zygote import main; main()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=ONE_THREAD,
            start_new_session=True,
        )
        theirs.close()
        plan = Plan(isolation, readable_paths(), self._hidden)
        self._control.settimeout(START)
        reply = self._exchange({**asdict(plan), "root": self._root})
        if "ready" not in reply:
            raise LessonError(reply.get("error", "no reason told"))

    def _ask(self, request: dict[str, Any], fds: tuple[int, ...] = ()) -> dict[str, Any]:
        """Ask the sandbox's process; where it is gone, start another for those who come next.

        Raises:
            GraderFault: it is gone, and with it all its workers.
        """
        with self._lock:  # workers are started from several threads
            try:
                return self._exchange(request, fds)
            except GraderFault:
                if self._closed:
                    raise
                self._stop()
                with contextlib.suppress(LessonError, GraderFault, OSError):
                    self._start(self.isolation)
                raise

    def _exchange(self, request: dict[str, Any], fds: tuple[int, ...] = ()) -> dict[str, Any]:
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], list(fds))
            data = self._control.recv(1 << 16)
        except OSError as error:
            raise GraderFault(f"the sandbox's process does not answer ({error})") from error
        if not data:
            raise GraderFault("the sandbox's process ended")
        return json.loads(data)

    def _user(self, slot: int) -> int | None:
        """Return the user that a worker without namespaces becomes: none, or root's stand-in."""
        if self.isolation == "namespaces" or not self._is_root():
            return None
        return limits.NOBODY + slot % limits.USERS

    def worker(self, settings: Settings, oracle: Oracle | None = None) -> Worker:
        """Start a worker.

        Args:
            settings: what it may use.
            oracle: answers for earlier exercises.

        Raises:
            GraderFault: the sandbox's process is gone.
        """
        ours, theirs = socket.socketpair()
        with self._lock:
            self._slots += 1
            slot = self._slots
        start = {
            "seconds": int(settings.timeout) + 2,
            "memory": settings.memory << 20,
            "user": self._user(slot),
        }
        started = self._ask({"start": start}, (theirs.fileno(),))["started"]
        theirs.close()
        fd = ours.detach()

        def end(patience: float) -> int:
            return self._ask({"end": started, "patience": patience})["code"]

        def waited() -> float:
            return self._ask({"waited": started})["seconds"]

        return Worker(wire.Channel(fd, fd), end, settings, oracle, waited)

    def close(self) -> None:
        """End the sandbox and every worker in it, for good."""
        self._closed = True
        self._stop()

    def _stop(self) -> None:
        self._control.close()
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _lacking(isolation: str) -> str | None:
    """Return why this system cannot have a kind of isolation, or None if it is to be tried."""
    if isolation == "namespaces" and sys.platform != "linux":
        return "only Linux has them"
    if isolation == "landlock" and not landlock.version():
        return "the kernel does not know it"
    return None


def folders_of(packages: Iterable[str]) -> list[Path]:
    """Return where packages lie that are installed here, without importing them."""
    specs = [importlib.util.find_spec(name) for name in packages]
    return [
        Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()
    ]


def readable_paths() -> list[str]:
    """Return the files and folders that Python needs to run here, and nothing of a home."""
    system = ["/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/nix/store"]
    devices = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]
    python = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()]
    real = [str(Path(sys.executable).resolve().parents[1])]
    machine = ["/sys/devices/system/cpu", "/etc/localtime"]
    paths = [*system, *devices, *machine, *python, *real]
    return [path for path in dict.fromkeys(paths) if path != "/" and os.path.lexists(path)]
