"""A worker in a container."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import corpus
import pytest
import torch
from classes import LESSONS, QUICK, ROOT

from mmlite.course.notebooks import LessonError
from mmlite.grading import wire
from mmlite.grading.host import batch, container, sandbox, selfcheck
from mmlite.grading.host.remote import Settings, Worker

pytestmark = pytest.mark.xdist_group("container")  # one set-up for all, in one worker


def test_a_container_has_no_network_no_course_and_limits():
    command = container.docker_command("image", "name", Settings(20, 512))
    text = " ".join(command)
    for wanted in (
        "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--memory=1536m", "--memory-swap=1536m", "--pids-limit=64", "--user=65534:65534", "--rm",
    ):  # fmt: skip
        assert wanted in command
    mounted = re.findall(r"--volume=(\S+?):(\S+?):ro", text)
    assert [Path(source).exists() for source, _ in mounted] == [True] * len(mounted)
    assert not any("exercises" in source for source, _ in mounted)
    assert command[command.index("image") + 1 :] == ["python", "-I", "-c", container.RUN]


def test_what_a_container_runs_is_a_worker(tmp_path):
    # Docker is not needed for this: the mounted files alone, and the command's own line
    command = container.docker_command("image", "name", QUICK)
    for source, target in re.findall(r"--volume=(\S+?):(\S+?):ro", " ".join(command)):
        copy = tmp_path / target.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(source).read_bytes())
    line = container.RUN.replace("/grader", str(tmp_path / "grader"))
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )
    fds = [os.dup(stream.fileno()) for stream in (process.stdout, process.stdin)]
    process.stdout.close()
    process.stdin.close()
    order = {
        "notebook": corpus.notebook("def f(x):\n    print(x)\n    return 2 * x"),
        "library": {}, "withheld": {}, "function": "f", "wanted": ["f"], "own": [],
    }  # fmt: skip
    with Worker(wire.Channel(*fds), lambda patience: process.wait(60), QUICK) as worker:
        assert worker.load(order)["status"] == "defined"
        assert worker.call("f", (torch.ones(2),), []).tolist() == [2, 2]
        worker.channel.close()
        worker.channel = type("Closed", (), {"close": lambda self: None})()


def test_a_container_that_cannot_be_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LessonError, match="Docker does not answer"):
        container.Container("image")


# for real: an engine where one can be had, an empty image, and this machine's Python in it


def engine(folder: Path):
    """Start an engine of its own, and return it with its address."""
    if os.geteuid() or not shutil.which("dockerd"):
        pytest.skip("no engine of containers can be started here; as root, with Docker's dockerd")
    address = f"unix://{folder}/socket"
    command = [
        "dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid", f"--host={address}", "--iptables=false", "--bridge=none",
        "--storage-driver=vfs",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 60  # an engine that starts does in a few seconds
    while subprocess.run(["docker", "--host", address, "info"], capture_output=True).returncode:
        if running.poll() is not None or time.monotonic() > deadline:
            running.kill()
            running.wait()
            last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            pytest.skip(f"Docker's engine does not start here: {' '.join(last)[:200]}")
        time.sleep(0.5)
    return running, address


@pytest.fixture(scope="module")
def contained():
    """Hold answers in containers of an image that is made here, without a network."""
    # its socket's path has to be short
    with tempfile.TemporaryDirectory(prefix="mmlite-engine-") as name:
        running, address = engine(Path(name))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", address)
            image = io.BytesIO()
            with tarfile.open(fileobj=image, mode="w") as tar:
                for folder, mode in {
                    "tmp": 0o1777,
                    "proc": 0o755,
                    "dev": 0o755,
                    "etc": 0o755,
                }.items():
                    info = tarfile.TarInfo(folder)
                    info.type, info.mode = tarfile.DIRTYPE, mode
                    tar.addfile(info)
            command = ["docker", "import", "-", "mmlite-empty"]
            subprocess.run(command, input=image.getvalue(), check=True, capture_output=True)
            shown = [p for p in sandbox.readable_paths() if not p.startswith(("/dev", "/sys"))]
            yield container.Container("mmlite-empty", sys.executable, shown)
        running.terminate()
        running.wait()


@pytest.mark.container
@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_master_gets_all_points_in_containers(path, contained):
    assert selfcheck.masters(contained, [path]) == []


HELD = {
    "endless-loop", "memory-bomb", "forked-memory-bomb", "fork-bomb", "disk-fill", "os-exit",
    "read-master", "read-library", "network", "write-grades", "litter", "by-numpy", "unicode",
}  # fmt: skip


@pytest.mark.container
def test_a_class_is_graded_in_containers(tmp_path, contained):
    cases = [case for case in corpus.CASES if case.name in HELD]
    source, out = tmp_path / "class", tmp_path / "out"
    source.mkdir()
    place = corpus.Place(ROOT, out, 9, tmp_path / "touched")
    for case in cases:
        (source / f"{case.name}.ipynb").write_bytes(case.make(place, source))
    batch.grade(source, out, LESSONS, contained, QUICK, batch.Wishes("01"), jobs=2)
    students = json.loads((out / "grades.json").read_text(encoding="utf-8"))["students"]
    assert set(students) == {case.name for case in cases}
    for case in cases:
        assert students[case.name]["total"] == case.total, students[case.name]
    assert not (tmp_path / "touched").exists()


@pytest.mark.container
def test_an_image_without_torch_is_refused_before_anything_is_marked(contained):
    with pytest.raises(LessonError, match=r"no container of mmlite-empty starts: .*python"):
        container.Container("mmlite-empty")
