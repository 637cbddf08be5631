"""`mmlite lab`: a real JupyterLab started and asked for a lesson."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from running import ROOT, course, run_without

from mmlite import cli
from mmlite.cli import lab


@pytest.mark.parametrize(
    ("arguments", "lesson", "passed_on"),
    [
        (["lab"], "01", []),
        (["lab", "01"], "01", []),
        (["lab", "--ip", "0.0.0.0"], "01", ["--ip", "0.0.0.0"]),
        (["lab", "2", "--port", "9000"], "2", ["--port", "9000"]),
        (["lab", "--port=9000", "--no-browser"], "01", ["--port=9000", "--no-browser"]),
    ],
)
def test_labs_other_options_go_to_jupyterlab(monkeypatch, arguments, lesson, passed_on):
    seen = []
    monkeypatch.setattr(lab, "lab", lambda options: seen.append(options) or 0)
    assert cli.main(arguments) == 0
    assert (seen[0].lesson, seen[0].jupyter) == (lesson, passed_on)


@pytest.mark.parametrize("display", [True, False])
@pytest.mark.parametrize("root", [True, False])
def test_jupyter_is_told_of_root_and_of_a_missing_display(display, root):
    command = lab.jupyter_command(Path("/c"), Path("/c/lessons/01_a.ipynb"), display, root)
    assert ("--no-browser" in command) is not display
    assert ("--allow-root" in command) is root


@pytest.mark.parametrize(
    ("platform", "variables", "shown"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
        ("win32", {}, True),
    ],
)
def test_a_display_is_recognized(monkeypatch, platform, variables, shown):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert lab.has_display() is shown


def test_lab_opens_lesson_01_and_steps_over_a_busy_port(tmp_path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        environment = {k: v for k, v in os.environ.items() if "DISPLAY" not in k}
        environment |= {
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
            "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "mmlite", "lab", f"--ServerApp.port={port}"]
        log = tmp_path / "log"
        with log.open("w") as out:
            server = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        try:
            link = wait_for_link(log, server)
            assert f":{port}/" not in link
            assert "/lab/tree/lessons/01_contrastive.ipynb" in link
            base, token = re.match(r"(.*)/lab/.*\?token=(\w+)", link).groups()
            assert fetch(link, server, log)
            address = f"{base}/api/contents/lessons/01_contrastive.ipynb?token={token}"
            opened = json.loads(fetch(address, server, log))
            assert opened["type"] == "notebook"
            page = fetch(link, server, log).decode()
            config = re.search(r"jupyter-config-data[^>]*>(.*?)</script>", page, re.DOTALL)[1]
            assert "@jupyter/nbgrader" in json.loads(config)["disabledExtensions"]
        finally:
            server.terminate()
            server.wait(timeout=300)
        assert "nbgrader" not in log.read_text()  # nor on the server


@pytest.mark.parametrize("own", ["", "/own"])
def test_a_users_own_configuration_of_jupyter_is_read_after_ours(own):
    given = {"JUPYTER_CONFIG_PATH": own, "HOME": "/h"} if own else {"HOME": "/h"}
    made = lab.without_nbgrader(given)
    assert made.pop("JUPYTER_CONFIG_PATH").split(os.pathsep) == [
        str(lab.CONFIG),
        *filter(None, [own]),
    ]
    assert made == {"HOME": "/h"}


def fetch(address: str, server: subprocess.Popen, log: Path, seconds: float = 300) -> bytes:
    """Return what the server answers; on a busy machine it prints its link before it does."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as page:
                assert page.status == 200
                return page.read()
        except urllib.error.HTTPError:
            raise
        except OSError:  # refused, reset or late
            assert server.poll() is None, f"JupyterLab stopped:\n{log.read_text()}"
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def wait_for_link(log: Path, server: subprocess.Popen, seconds: float = 300) -> str:
    """Return the link that JupyterLab prints."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pattern = r"http://(?:localhost|127\.0\.0\.1):\d+/lab/\S*token=\w+"
        found = re.search(pattern, log.read_text())
        if found:
            return found[0]
        assert server.poll() is None, f"JupyterLab stopped:\n{log.read_text()}"
        time.sleep(0.2)
    raise AssertionError(f"no link after {seconds} s:\n{log.read_text()}")


def test_lab_says_that_jupyterlab_is_missing(tmp_path):
    done = run_without(["jupyterlab"], "lab", cwd=course(tmp_path, "1"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "this command needs jupyterlab" in done.stderr
