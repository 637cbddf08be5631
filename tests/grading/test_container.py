"""A worker in a container."""

import os
import re
import subprocess
import sys
from pathlib import Path

import corpus
import pytest
import torch
from classes import QUICK

from mmlite.classroom import LessonError
from mmlite.grading import container, wire
from mmlite.grading.remote import Settings, Worker


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
        "library": {}, "withheld": {}, "function": "f", "wanted": ["f"],
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
