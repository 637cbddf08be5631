"""The grader's side of the sandbox: start it, start workers in it, call a student's function.

The grader sends arguments and reads back plain tensors and numbers. What it reads is a student's
word and no more: it is bounded in size and time, and only ever compared.
"""

import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmlite.classroom import LessonError
from mmlite.grading import isolation, wire
from mmlite.grading.worker import PEERS

ROOT = Path(__file__).resolve().parents[2]  # what `import mmlite` is found in
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
ASKS = 2000  # calls of earlier exercises while one is marked
PATIENCE = 2  # seconds to find out how a process ended that no longer answers
START = 120  # seconds that importing torch may take

NAMESPACES = (
    "namespaces: a file system of Python alone, an empty folder in memory, no network, no process "
    "but its own"
)
PLAIN = (
    "limits only: a process group of its own with an empty folder, ended with all it started; it "
    "could read files and use the network, for this system offers no namespaces"
)


Oracle = Callable[[str, tuple, dict[str, Any]], Any]


class AnswerError(Exception):
    """A student's function raised, or its process failed; `judge` tells it as its type's name."""


@dataclass(frozen=True)
class Settings:
    """What a submission may use.

    Attributes:
        timeout: seconds an exercise may take, from loading to the last call.
        memory: MB beyond what torch takes, of all processes together.
    """

    timeout: float = 20.0
    memory: int = 2048


class Worker:
    """One student's notebook in a process of its own, asked for one function.

    Args:
        channel: to the process.
        end: end(patience) ends the process, after at most so many seconds if it ends by itself,
            and returns its exit code.
        settings: what it may use.
        oracle: answers for earlier exercises: oracle(exercise id, arguments, named arguments).
    """

    def __init__(
        self,
        channel: wire.Channel,
        end: Callable[[float], int | None],
        settings: Settings,
        oracle: Oracle | None = None,
    ):
        self.channel, self.settings, self.oracle = channel, settings, oracle
        self._end, self._fault, self._asks, self._changed = end, None, 0, False
        self.left = settings.timeout  # seconds; the grader's own work between calls costs none

    def load(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Send a notebook with all that `mmlite.grading.worker` wants beside it; see there.

        Raises:
            AnswerError: the process failed.
        """
        self._ready()
        reply = self._request(dict(order))
        if not isinstance(reply.get("status"), str):
            raise AnswerError("the process answered nonsense")
        return reply

    def _ready(self) -> None:
        """Wait for the process's first word, sent before it has a notebook and its time starts."""
        try:
            self.channel.receive(time.monotonic() + START)
        except wire.WireError as error:
            self._fault = self._explain(error)
            raise self._fault from error

    def call(self, function: str, arguments: tuple, own: list[str]) -> Any:
        """Return what the student's function returns, and put its changes into `arguments`.

        Raises:
            AnswerError: it raised, or the process failed; NotImplementedError passes as itself.
                Once it has changed a tensor it was given, every further call raises, so that what
                `observe` still compares with cannot be changed to and fro.
        """
        if self._changed:
            raise _as_exception("ChangedInput", f"{function} changed its inputs; work on a copy")
        reply = self._request({"function": function, "arguments": arguments, "own": own})
        if "error" in reply:
            raise _as_exception(str(reply["error"]), str(reply.get("message", "")))
        if "result" not in reply:
            raise AnswerError("the process answered nonsense")
        self._changed = _put_back(reply.get("arguments"), arguments)
        return reply["result"]

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._fault is not None:
            raise self._fault
        nonce, deadline = secrets.randbits(62), time.monotonic() + self.left
        try:
            self.channel.send({**request, "nonce": nonce}, deadline)
            while True:
                reply = self.channel.receive(deadline)
                if not isinstance(reply, dict) or reply.get("nonce") != nonce:
                    raise wire.WireError("it answered before it was asked")
                if "ask" not in reply:
                    return reply
                self.channel.send(self._answer(reply), deadline)
        except wire.WireError as error:
            self._fault = self._explain(error)
            raise self._fault from error
        finally:
            self.left = deadline - time.monotonic()

    def _answer(self, reply: dict[str, Any]) -> dict[str, Any]:
        self._asks += 1
        if self.oracle is None or self._asks > ASKS:
            raise wire.WireError("it asked too often for earlier exercises")
        try:
            given = reply.get("arguments"), reply.get("named")
            return {"result": self.oracle(str(reply["ask"]), *given)}
        except Exception as error:  # of a reference called with a student's arguments
            return {"error": f"{type(error).__name__}: {str(error)[:300]}"}

    def _explain(self, error: wire.WireError) -> Exception:
        """Return why the process failed as an exception whose type is worth reading."""
        if isinstance(error, wire.LateError):
            sentence = f"no answer within {self.settings.timeout:g} seconds; does a loop never end?"
            return _as_exception("TimeLimit", sentence)
        if not isinstance(error, wire.ClosedError):
            return _as_exception("ForeignMessage", str(error))
        code = self.end(PATIENCE)
        if code == isolation.TOO_MUCH_MEMORY:
            return _as_exception("MemoryLimit", f"more than {self.settings.memory} MB were used")
        if code == isolation.TOO_MANY_PROCESSES:
            sentence = f"more than {isolation.PROCESSES} processes were started"
            return _as_exception("ProcessLimit", sentence)
        if code == isolation.TOO_MUCH_DISK:
            return _as_exception("DiskLimit", f"more than {isolation.FOLDER >> 20} MB were written")
        if code == isolation.NO_SANDBOX:
            raise LessonError("the sandbox could not be set up; nothing was run")
        if code is not None and code > 128:
            return _as_exception("Crash", f"signal {code - 128} ended the process")
        return _as_exception("Exit", "the process ended itself while it was asked")

    def end(self, patience: float = 0) -> int | None:
        """End the process and all it started, and return how it had ended.

        Args:
            patience: seconds to wait for an end of its own that is under way.
        """
        if self._end is None:
            return None
        end, self._end = self._end, None
        try:
            return end(patience)
        finally:
            self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def _as_exception(name: str, message: str) -> Exception:
    if name == "NotImplementedError":
        return NotImplementedError(clean(message))
    kind = name if name.isidentifier() and len(name) <= 60 else "Exception"
    return type(kind, (AnswerError,), {})(clean(message))


def clean(text: str, limit: int = 500) -> str:
    """Return a student's text in one line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in text[:limit])


def _put_back(after: Any, arguments: tuple | list) -> bool:
    """Do to the arguments what was done to the student's copies; return if a tensor changed."""
    import torch

    if type(after) is not type(arguments) or len(after) != len(arguments):
        raise AnswerError("the process answered nonsense")
    changed = False
    for now, argument in zip(after, arguments, strict=True):
        if isinstance(argument, (tuple, list)):
            changed |= _put_back(now, argument)
        elif isinstance(argument, torch.Generator) and isinstance(now, torch.Generator):
            argument.set_state(now.get_state())
        elif isinstance(argument, torch.Tensor):
            if not isinstance(now, torch.Tensor) or now.dtype != argument.dtype:
                raise AnswerError("the process answered nonsense")
            if not torch.equal(now, argument):
                changed = True
                argument.resize_(now.shape).copy_(now)
    return changed


class Sandbox:
    """A warm process that workers are forked from, held as tightly as the system allows.

    Attributes:
        description: what holds a worker, in a sentence.

    Args:
        hidden: folders that a worker must not see, should they lie where Python's files are.
        plain: do without namespaces.

    Raises:
        LessonError: it does not start.
    """

    def __init__(self, hidden: tuple[Path, ...] = (), plain: bool = False):
        self._lock, self._slots = threading.Lock(), 0
        hidden = (ROOT / "mmlite", *hidden, *folders_of(PEERS))
        self._hidden = [str(path.resolve()) for path in hidden]
        reasons = []
        for namespaces in (False,) if plain else (True, False):
            if namespaces and sys.platform != "linux":
                continue
            try:
                self._start(namespaces)
                self._try()
            except (LessonError, OSError, wire.WireError) as error:
                self.close()
                reasons.append(str(error))
                continue
            self.description = NAMESPACES if namespaces else PLAIN
            return
        raise LessonError(f"the sandbox does not start: {'; '.join(reasons)}")

    @staticmethod
    def _is_root() -> bool:
        return hasattr(os, "geteuid") and os.geteuid() == 0

    def _start(self, namespaces: bool) -> None:
        ours, theirs = socket.socketpair()
        self._control, self._namespaces = ours, namespaces
        self._root = tempfile.mkdtemp(prefix="mmlite-root-")
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
            "from mmlite.grading.zygote import main; main()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=ONE_THREAD,
            start_new_session=True,
        )
        theirs.close()
        plan = {
            "namespaces": namespaces,
            "root": self._root,
            "readable": readable_paths(),
            "hidden": self._hidden,
        }
        self._control.settimeout(START)
        reply = self._ask(plan)
        if "ready" not in reply:
            raise LessonError(reply.get("error", "no reason told"))

    def _ask(self, request: dict[str, Any], fds: tuple[int, ...] = ()) -> dict[str, Any]:
        with self._lock:  # workers are started from several threads
            socket.send_fds(self._control, [json.dumps(request).encode()], list(fds))
            data = self._control.recv(1 << 16)
        if not data:
            raise LessonError("the sandbox's process ended")
        return json.loads(data)

    def _try(self) -> None:
        """Have a notebook answered, so that what does not work is noticed before the class."""
        notebook = {"cells": [{"cell_type": "code", "source": "def f(x):\n    return x + 1"}]}
        order = {
            "notebook": json.dumps(notebook).encode(),
            "library": {},
            "withheld": {},
            "function": "f",
            "wanted": ["f"],
        }
        with self.worker(Settings()) as worker:
            try:
                worker.load(order)
                answer = worker.call("f", (1,), [])
            except AnswerError as error:
                raise LessonError(f"a trial failed: {error}") from error
        if answer != 2:
            raise LessonError("a trial failed")

    def _user(self, slot: int) -> int | None:
        """Return the user that a worker without namespaces becomes: none, or root's stand-in."""
        return isolation.NOBODY + slot % 100 if self._is_root() and not self._namespaces else None

    def worker(self, settings: Settings, oracle: Oracle | None = None) -> Worker:
        """Start a worker.

        Args:
            settings: what it may use.
            oracle: answers for earlier exercises.
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

        return Worker(wire.Channel(fd, fd), end, settings, oracle)

    def close(self) -> None:
        """End the sandbox and every worker in it."""
        self._control.close()
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
    machine = ["/sys/devices/system/cpu"]
    paths = [*system, *devices, *machine, *python, *real]
    return [path for path in dict.fromkeys(paths) if path != "/" and os.path.lexists(path)]
