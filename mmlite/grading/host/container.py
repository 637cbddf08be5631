"""The sandbox as Docker containers: each exercise's process in one of its own, without network.

Slower than `sandbox`, for each container imports torch anew; for systems without namespaces, or
where a teacher trusts a container more. The image holds Python and torch, no course: the worker's
own modules are mounted read-only, and everything else comes over its standard input.
"""

import contextlib
import os
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mmlite.course.notebooks import LessonError
from mmlite.grading.guest import limits
from mmlite.grading.guest.zygote import WORKER
from mmlite.grading.host import trial
from mmlite.grading.host.remote import GraderFault, Oracle, Settings, Worker, clean
from mmlite.grading.wire import Channel

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("mmlite", "mmlite.grading", "mmlite.grading.guest")
MODULES = [
    *(f"{name.replace('.', '/')}/__init__" for name in PACKAGES),
    *(name.replace(".", "/") for name in WORKER),
]
RUN = (
    "import sys; sys.path.insert(0, '/grader'); "
    "from mmlite.grading.guest.worker import work; work(0, 1)"
)
TORCH = 1024  # MB that torch itself takes
IMPORT = 120  # seconds of a processor that importing it may take


def docker_command(
    image: str,
    name: str,
    settings: Settings,
    python: str = "python",
    shown: Sequence[str] = (),
) -> list[str]:
    """Return the command that runs a worker in a container.

    Args:
        image: has Python and torch.
        name: of the container, to end it by.
        settings: what it may use.
        python: the interpreter there.
        shown: files and folders of this machine that it sees too.
    """
    seconds = int(settings.timeout) + 2
    mounts = [f"--volume={ROOT}/{module}.py:/grader/{module}.py:ro" for module in MODULES]
    mounts += [f"--volume={path}:{path}:ro" for path in shown]
    return [
        "docker", "run", "--rm", "--interactive", "--init", f"--name={name}",
        "--network=none", "--read-only", "--user=65534:65534", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", "--ipc=private", "--log-driver=none",
        f"--memory={settings.memory + TORCH}m", f"--memory-swap={settings.memory + TORCH}m",
        f"--pids-limit={limits.PROCESSES}", "--cpus=1", f"--ulimit=cpu={seconds + IMPORT}",
        f"--ulimit=fsize={limits.FILE}", f"--ulimit=nofile={limits.FILES}",
        f"--tmpfs=/tmp:size={limits.FOLDER},mode=1777", "--workdir=/tmp",
        "--env=HOME=/tmp", "--env=OMP_NUM_THREADS=1", "--env=OPENBLAS_NUM_THREADS=1",
        *mounts, image, python, "-I", "-c", RUN,
    ]  # fmt: skip


class Container:
    """Starts workers in containers; takes the place of a `Sandbox`.

    Attributes:
        description: what holds a worker, in a sentence.

    Args:
        image: has Python and torch, or nothing where `shown` has them.
        python: the interpreter there.
        shown: files and folders of this machine that a worker sees too.

    Raises:
        LessonError: Docker does not answer or has no such image, or an answer does not run in it.
    """

    def __init__(self, image: str, python: str = "python", shown: Sequence[str] = ()):
        self.image, self.python, self.shown = image, python, tuple(shown)
        self.description = f"a Docker container of {image} for each exercise, without network"
        try:
            done = subprocess.run(
                ["docker", "image", "inspect", image], capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LessonError(f"Docker does not answer: {error}") from error
        if done.returncode:
            said = done.stderr.strip()[:200]
            if "daemon" in said and "No such image" not in said:
                raise LessonError(f"Docker does not answer: {said}")
            raise LessonError(
                f"Docker has no image {image!r} ({said}); the README says how to build it"
            )
        with tempfile.TemporaryFile() as log:
            self._stderr: int | IO[bytes] = log
            try:
                trial.check(self)
            except GraderFault as error:
                log.seek(0)
                last = log.read(1 << 16).decode("utf-8", "replace").strip().splitlines()[-1:]
                told = f"{error}; {clean(last[0])}" if last else str(error)
                raise LessonError(f"no container of {image} starts: {told}") from error
        self._stderr = subprocess.DEVNULL  # nothing of a student's is read there

    def worker(self, settings: Settings, oracle: Oracle | None = None) -> Worker:
        """Start a worker, as `Sandbox.worker` does."""
        name = f"mmlite-{secrets.token_hex(8)}"
        process = subprocess.Popen(
            docker_command(self.image, name, settings, self.python, self.shown),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
        )

        def end(patience: float) -> int | None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            code = process.poll()
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["docker", "kill", name], capture_output=True, timeout=60)
            process.kill()  # the client too, should it wait for a container that never was
            process.wait()
            return code

        assert process.stdout is not None  # both are pipes
        assert process.stdin is not None
        with process.stdout as its_out, process.stdin as its_in:
            channel = Channel(os.dup(its_out.fileno()), os.dup(its_in.fileno()))
        return Worker(channel, end, settings, oracle)

    def close(self) -> None:
        """Do nothing: each worker's container ends with it."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
