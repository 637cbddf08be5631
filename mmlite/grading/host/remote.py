"""A student's notebook in a process of its own, as the grader sees it: load it, call a function.

The grader sends arguments and reads back plain tensors and numbers. What it reads is a student's
word and no more: it is bounded in size and time, and only ever compared.
"""

import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmlite.grading import wire
from mmlite.grading.guest import keeper, limits

ASKS = 2000  # calls of earlier exercises while one is marked
PATIENCE = 10  # seconds to find out how a process ended that no longer answers
START = 600  # seconds that importing torch may take on a busy machine
STARVED = 10  # times its seconds that a process may wait for a processor, beyond these seconds

# an exercise's id, its arguments, those that are named, the order of the derivative, cotangents
Oracle = Callable[[str, tuple, dict[str, Any], int, tuple], Any]


class WorkerError(Exception):
    """A student's function raised, or its process failed; `judge` tells it as its type's name."""


class GraderFault(BaseException):
    """The grader's own trouble, of which no answer is guilty: nothing is marked for it.

    It is no `Exception`, for these are the answer's where an answer is called.
    """


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
        oracle: answers for earlier exercises.
        waited: tells for how many seconds the process has waited for a processor so far.
    """

    def __init__(
        self,
        channel: wire.Channel,
        end: Callable[[float], int | None],
        settings: Settings,
        oracle: Oracle | None = None,
        waited: Callable[[], float] = lambda: 0.0,
    ):
        self.channel, self.settings, self.oracle = channel, settings, oracle
        self._end: Callable[[float], int | None] | None = end
        self._fault: Exception | None = None
        self._asks, self._changed = 0, False
        self.left = settings.timeout  # seconds; the grader's own work between calls costs none
        self._waited, self._granted = waited, 0.0

    def load(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Send a notebook with all that `mmlite.grading.guest.worker` wants beside it; see there.

        Raises:
            WorkerError: the process failed.
        """
        self._ready()
        reply = self._request(dict(order))
        if not isinstance(reply.get("status"), str):
            raise WorkerError("the process sent a reply that cannot be read")
        return reply

    def _ready(self) -> None:
        """Wait for the process's first word, sent before it has a notebook and its time starts.

        Raises:
            GraderFault: there is none; nothing of the student's has run yet.
        """
        try:
            self.channel.receive(time.monotonic() + START)
        except wire.WireError as error:
            code = self.end(PATIENCE)
            raise GraderFault(f"a worker did not start (exit code {code})") from error

    def call(self, function: str, arguments: tuple, own: list[str]) -> Any:
        """Return what the student's function returns, and put its changes into `arguments`.

        Raises:
            WorkerError: it raised, or the process failed; NotImplementedError passes as itself.
                Once it has changed a tensor it was given, every further call raises, so that what
                `observe` still compares with cannot be changed to and fro.
        """
        if self._changed:
            raise _as_exception("ChangedInput", f"{function} changed its inputs; work on a copy")
        reply = self._request({"function": function, "arguments": arguments, "own": own})
        if "error" in reply:
            raise _as_exception(str(reply["error"]), str(reply.get("message", "")))
        if "result" not in reply:
            raise WorkerError("the process sent a reply that cannot be read")
        self._changed = _put_back(reply.get("arguments"), arguments)
        return reply["result"]

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._fault is not None:
            raise self._fault
        nonce, clock = secrets.randbits(62), self._clock()
        try:
            self.channel.send({**request, "nonce": nonce}, clock)
            while True:
                reply = self.channel.receive(clock)
                if not isinstance(reply, dict) or reply.get("nonce") != nonce:
                    raise wire.WireError("it answered before it was asked")
                if "ask" not in reply:
                    return reply
                self.channel.send(self._answer(reply), clock)
        except wire.WireError as error:
            self._fault = fault = self._explain(error)
            raise fault from error
        finally:
            self.left = clock(False)

    def _clock(self) -> Callable[..., float]:
        """Return a clock of the seconds left; those that a busy machine took are given back."""
        until = time.monotonic() + self.left

        def left(give_back: bool = True) -> float:
            nonlocal until
            if give_back and time.monotonic() >= until:
                most = STARVED * self.settings.timeout
                more = min(self._waited(), most) - self._granted
                self._granted += max(more, 0)
                until += max(more, 0)
            return until - time.monotonic()

        return left

    def _answer(self, reply: dict[str, Any]) -> dict[str, Any]:
        self._asks += 1
        if self.oracle is None or self._asks > ASKS:
            raise wire.WireError("it asked too often for earlier exercises")
        try:
            parts: list[Any] = [
                reply.get(key) for key in ("arguments", "named", "order", "cotangents")
            ]
            return {"result": self.oracle(str(reply["ask"]), *parts)}
        except Exception as error:  # of a reference called with a student's arguments
            return {"error": f"{type(error).__name__}: {str(error)[:300]}"}

    def _explain(self, error: wire.WireError) -> Exception:
        """Return why the process failed as an exception whose type is worth reading."""
        if isinstance(error, wire.LateError):
            return self._late()
        if not isinstance(error, wire.ClosedError):
            return _as_exception("ForeignMessage", str(error))
        code = self.end(PATIENCE)
        if code == keeper.TOO_MUCH_MEMORY:
            return _as_exception("MemoryLimit", f"more than {self.settings.memory} MB were used")
        if code == keeper.TOO_MANY_PROCESSES:
            sentence = f"more than {limits.PROCESSES} processes were started"
            return _as_exception("ProcessLimit", sentence)
        if code == keeper.TOO_MUCH_DISK:
            return _as_exception("DiskLimit", f"more than {limits.FOLDER >> 20} MB were written")
        if code == keeper.NO_SANDBOX:
            raise GraderFault("the sandbox could not be set up; nothing was run")
        if code in (128 + signal.SIGXCPU, -signal.SIGXCPU):
            return self._late()
        if code is not None and code > 128:
            return _as_exception("Crash", f"signal {code - 128} ended the process")
        return _as_exception("Exit", "the process ended itself while it was asked")

    def _late(self) -> Exception:
        sentence = f"no answer within {self.settings.timeout:g} seconds; does a loop never end?"
        return _as_exception("TimeLimit", sentence)

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
    return type(kind, (WorkerError,), {})(clean(message))


def clean(text: str, limit: int = 500) -> str:
    """Return a student's text in one line of printable characters."""
    return "".join(c if c.isprintable() else " " for c in text[:limit])


def _put_back(after: Any, arguments: tuple | list) -> bool:
    """Do to the arguments what was done to the student's copies; return if a tensor changed."""
    import torch

    if type(after) is not type(arguments) or len(after) != len(arguments):
        raise WorkerError("the process sent a reply that cannot be read")
    changed = False
    for now, argument in zip(after, arguments, strict=True):
        if isinstance(argument, (tuple, list)):
            changed |= _put_back(now, argument)
        elif isinstance(argument, torch.Generator) and isinstance(now, torch.Generator):
            argument.set_state(now.get_state())
        elif isinstance(argument, torch.Tensor):
            if not isinstance(now, torch.Tensor) or now.dtype != argument.dtype:
                raise WorkerError("the process sent a reply that cannot be read")
            if not torch.equal(now, argument):
                changed = True
                argument.resize_(now.shape).copy_(now)
    return changed
