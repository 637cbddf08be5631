"""The process that workers are forked from: warmed with torch, and with nothing else.

Importing torch takes seconds, so it is done once, and each worker is a fork. That is safe here:
this process has one thread and has run no operation, so no lock and no thread pool is lost in the
fork; it holds no reference, no mark and no file of the course, so a worker inherits no secret; and
workers never meet, for each has namespaces (or at least limits and a keeper) of its own.
"""

import contextlib
import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import socket
import sys
import time
import warnings
from types import CodeType, ModuleType

from mmlite.grading.guest import keeper, mounts, usage
from mmlite.grading.guest.kernel import IsolationError
from mmlite.grading.guest.limits import Limits

# What torch imports at the first call of `torch.func` and of forward mode: 900 modules and four
# seconds, which would be taken from the time of each answer that derives something.
FIRST_DERIVATIVE = ("torch._dynamo", "torch._decomp.decompositions_for_jvp")
# what a worker is made of, each after those that it imports
WORKER = (
    "mmlite.grading.wire",
    *(f"mmlite.grading.guest.{name}" for name in ("cells", "changes", "likeness", "notebook")),
    *(f"mmlite.grading.guest.{name}" for name in ("asking", "worker")),
)
# what answers import now and then, and takes a second
OFTEN = ("IPython.core.inputtransformer2", "IPython.display", "scipy.stats", "tqdm.auto")
STOPPED = 10  # seconds for a keeper to end by itself; one that a worker has stopped is ended


def main() -> None:
    """Serve the grader over standard input, a socket: start workers and end them."""
    control = socket.socket(fileno=os.dup(0))
    order = json.loads(control.recv(1 << 20))
    root, plan = order.pop("root"), keeper.Plan(**order)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the grader's to handle
    try:
        modules = read_modules()
        if plan.isolation == "namespaces":
            mounts.enter_root(root, plan.readable, plan.hidden)
        warm_up(modules)
    except Exception as error:
        control.sendall(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        return
    control.sendall(json.dumps({"ready": True}).encode())
    serve(control, plan)


def read_modules() -> dict[str, CodeType]:
    """Return the worker's modules as code: their files are out of sight when they are run."""
    found: dict[str, CodeType] = {}
    for name in WORKER:
        spec = importlib.util.find_spec(name)
        assert spec is not None  # they are this package's own files
        assert isinstance(spec.loader, importlib.abc.InspectLoader)
        code = spec.loader.get_code(name)
        assert code is not None
        found[name] = code
    return found


def warm_up(modules: dict[str, CodeType]) -> None:
    """Import torch, what it needs for derivatives too, and the worker's modules, in the sandbox.

    Raises:
        IsolationError: a second thread runs, so that forking would not be safe.
    """
    with warnings.catch_warnings():  # torch warns of what it calls itself
        warnings.simplefilter("ignore", FutureWarning)
        for name in FIRST_DERIVATIVE:
            importlib.import_module(name)
    for name in OFTEN:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name, code in modules.items():
        module = ModuleType(name)
        sys.modules[name] = module
        exec(code, module.__dict__)
        package, _, short = name.rpartition(".")
        setattr(sys.modules[package], short, module)
    tasks = "/proc/self/task"
    if os.path.isdir(tasks) and len(os.listdir(tasks)) > 1:
        raise IsolationError("importing torch started a thread")


def serve(control: socket.socket, plan: keeper.Plan) -> None:
    """Fork a keeper for each request to start, end it on request, and all when the grader goes."""
    keepers: dict[int, int] = {}
    while True:
        data, fds, _, _ = socket.recv_fds(control, 4096, 1)
        if not data:
            break
        request = json.loads(data)
        if "start" in request:
            pid, alive = _fork_keeper(control, keepers, fds[0], request["start"], plan)
            keepers[pid] = alive
            reply: dict[str, float] = {"started": pid}
        elif "waited" in request:
            reply = {"seconds": usage.seconds_waited(usage.descendants(request["waited"]))}
        else:
            pid = request["end"]
            reply = {"code": _end(pid, keepers.pop(pid), request["patience"])}
        control.sendall(json.dumps(reply).encode())
    for pid, alive in keepers.items():
        _end(pid, alive, 0)


def _end(pid: int, alive: int, patience: float) -> int:
    """End a worker and return its keeper's exit code.

    Args:
        pid: the keeper's.
        alive: the keeper ends the worker when this closes.
        patience: seconds to leave a worker that seems to have ended, so that its keeper sees how.
    """
    done, status = _wait(pid, patience)
    os.close(alive)
    if not done:
        os.kill(pid, signal.SIGCONT)  # a worker that is the keeper's user can stop it
        done, status = _wait(pid, STOPPED)
    if not done:
        for one in (pid, *usage.descendants(pid)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _wait(pid: int, seconds: float) -> tuple[int, int]:
    """Wait for a child, but not for ever; return what `os.waitpid` does."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or time.monotonic() > until:
            return done, status
        time.sleep(0.01)


def _fork_keeper(
    control: socket.socket, keepers: dict[int, int], channel: int, start: dict, plan: keeper.Plan
) -> tuple[int, int]:
    ended, alive = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ended)
        os.close(channel)
        return pid, alive
    control.close()
    for fd in (alive, *keepers.values()):
        os.close(fd)
    limits = Limits(start["seconds"], start["memory"])

    def work() -> None:
        from mmlite.grading.guest.worker import work

        work(channel, channel)

    keeper.exit_with(lambda: keeper.keep(work, limits, ended, plan, start["user"]))


if __name__ == "__main__":
    main()
