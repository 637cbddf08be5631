"""`mmlite lab`: a real JupyterLab started and asked for a lesson."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from labs import running_lab, wait_for_link
from running import ROOT, course, run_without

from mmlite import cli
from mmlite.cli import lab


@pytest.mark.parametrize(
    ("arguments", "lesson", "passed_on"),
    [
        (["lab"], "01", []),
        (["lab", "--restart", "3", "--port", "9000"], "3", ["--port", "9000"]),
        (["lab", "3", "--port", "9000", "--restart"], "3", ["--port", "9000"]),
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
    assert seen[0].restart is ("--restart" in arguments)


@pytest.mark.parametrize("display", [True, False])
@pytest.mark.parametrize("root", [True, False])
def test_jupyter_is_told_of_root_and_of_a_missing_display(display, root):
    options = lab.jupyter_options(Path("/c"), Path("/c/work/01_a.ipynb"), display, root)
    assert ("--no-browser" in options) is not display
    assert ("--allow-root" in options) is root


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


@pytest.fixture
def started(tmp_path):
    """Start `mmlite lab` in a course of its own, with a terminal or without."""
    shutil.copytree(ROOT / "lessons", tmp_path / "lessons")
    with ExitStack() as stack:

        def start(*options: str, terminal: bool = False):
            keyboard = pty.openpty()[1] if terminal else subprocess.DEVNULL
            return stack.enter_context(running_lab(tmp_path, *options, stdin=keyboard))

        yield start


def test_lab_opens_a_copy_of_lesson_01_and_steps_over_a_busy_port(started):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        server, log = started(f"--ServerApp.port={port}")
        link = wait_for_link(log, server)
        assert f":{port}/" not in link
        assert "/lab/tree/work/01_contrastive.ipynb" in link
        base, token = re.match(r"(.*)/lab/.*\?token=(\w+)", link).groups()
        assert fetch(link, server, log)
        for name in ("01_contrastive", "02_redundancy"):  # a lesson's links lead to its neighbors
            address = f"{base}/api/contents/work/{name}.ipynb?token={token}"
            assert json.loads(fetch(address, server, log))["type"] == "notebook"
        page = fetch(link, server, log).decode()
        config = re.search(r"jupyter-config-data[^>]*>(.*?)</script>", page, re.DOTALL)[1]
        disabled = json.loads(config)["disabledExtensions"]
        assert "@jupyter/nbgrader" in disabled
        assert "@jupyterlab/apputils-extension:announcements" in disabled
    assert "nbgrader" not in log.read_text()  # nor on the server


@pytest.mark.parametrize("terminal", [True, False])
def test_lab_says_one_line_and_one_ctrl_c_stops_it(started, terminal):
    server, log = started(terminal=terminal)
    link = wait_for_link(log, server)
    fetch(link, server, log)
    assert log.read_text().splitlines() == [
        "Starting JupyterLab …",
        f"Open 01_contrastive.ipynb in a browser: {link}  (Ctrl-C stops it)",
    ]
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=300) == 0
    assert "Traceback" not in log.read_text()


def test_ctrl_c_while_lab_starts_is_no_traceback(started):
    server, log = started()
    while "Starting" not in log.read_text():
        assert server.poll() is None, log.read_text()
        time.sleep(0.01)
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=300) in (0, 130)
    assert "Traceback" not in log.read_text()


def test_a_user_who_asks_for_the_log_gets_it(started):
    server, log = started("--debug")
    wait_for_link(log, server)
    assert len(log.read_text().splitlines()) > 10


@pytest.mark.parametrize("own", ["", "/own"])
def test_a_users_own_configuration_of_jupyter_is_read_after_ours(own):
    given = {"JUPYTER_CONFIG_PATH": own, "HOME": "/h"} if own else {"HOME": "/h"}
    made = lab.with_our_configuration(given)
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


def test_lab_says_that_jupyterlab_is_missing(tmp_path):
    done = run_without(["jupyterlab"], "lab", cwd=course(tmp_path, "1"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "this command needs jupyterlab" in done.stderr


def test_where_work_is_a_file_lab_opens_the_lesson_itself(tmp_path, capsys):
    shutil.copytree(ROOT / "lessons", tmp_path / "lessons")
    (tmp_path / "work").write_text("mine")
    lesson = tmp_path / "lessons" / "01_contrastive.ipynb"
    assert lab.own_copy(tmp_path, lesson) == lesson
    assert "work: File exists" in capsys.readouterr().err
    assert (tmp_path / "work").read_text() == "mine"


def test_lab_tells_of_a_newer_lesson_and_of_the_copy_that_it_put_aside(tmp_path, capsys):
    (tmp_path / "lessons").mkdir()
    lesson = tmp_path / "lessons" / "03_small.ipynb"
    lesson.write_text("old")
    copy = lab.own_copy(tmp_path, lesson)
    copy.write_text("mine")
    lesson.write_text("new")
    assert lab.own_copy(tmp_path, lesson).read_text() == "mine"
    assert "mmlite lab 03 --restart" in capsys.readouterr().out
    assert lab.own_copy(tmp_path, lesson, restart=True).read_text() == "new"
    name = re.search(r"is now (work/\S+)\.\n", capsys.readouterr().out)[1]
    assert (tmp_path / name).read_text() == "mine"
