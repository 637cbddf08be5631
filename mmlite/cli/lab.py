"""`mmlite lab`: open a lesson in JupyterLab."""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmlite.cli.arguments import need

CONFIG = Path(__file__).with_name("jupyter")  # what JupyterLab reads before its user's own


def add(commands) -> None:
    """Add the command to the parser's."""
    opens = commands.add_parser(
        "lab",
        help="open a lesson in JupyterLab",
        description="Open a lesson in JupyterLab. Where there is no display it prints the link. "
        "Further options are passed to JupyterLab, for instance --ip 0.0.0.0 to reach it from "
        "outside a container, or --port 9000.",
    )
    opens.add_argument(
        "lesson",
        nargs="?",
        type=os.path.expanduser,
        default="01",
        help="for instance 01 (the default)",
    )
    opens.set_defaults(command=lab)


def lab(options: argparse.Namespace) -> int:
    """Start JupyterLab on a lesson and wait for it."""
    from mmlite.course.notebooks import find_course, find_lessons

    need("nbformat", "jupyterlab", "ipykernel")
    course = find_course()
    notebook = find_lessons(course / "lessons", [options.lesson])[0]
    command = jupyter_command(course, notebook, has_display(), is_root()) + options.jupyter
    environment = without_nbgrader(os.environ)
    print(f"Opening {notebook.name}. Stop with Ctrl-C.", flush=True)
    if os.name == "posix":  # JupyterLab takes this process's place, and so its signals
        os.chdir(course)
        os.execve(command[0], command, environment)
    try:
        return subprocess.run(command, cwd=course, env=environment).returncode
    except KeyboardInterrupt:
        return 0


def jupyter_command(course: Path, notebook: Path, display: bool, root: bool) -> list[str]:
    """Return the command that starts JupyterLab on a notebook. A busy port is stepped over."""
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={course}"]
    # so that the link it prints leads to the lesson; a file argument would not
    command += [f"--LabApp.default_url=/lab/tree/{notebook.relative_to(course).as_posix()}"]
    # a first start should show the lesson, not a question about news
    command += ["--LabApp.news_url=None"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command += [] if display else ["--no-browser"]
    command += ["--allow-root"] if root else []
    return command


def without_nbgrader(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which JupyterLab leaves nbgrader out, if a teacher has it.

    Its buttons would stand in every lesson, and "Validate" would hold the server up for minutes.
    """
    places = [str(CONFIG), *filter(None, [environment.get("JUPYTER_CONFIG_PATH")])]
    return {**environment, "JUPYTER_CONFIG_PATH": os.pathsep.join(places)}


def has_display() -> bool:
    """Whether a browser could be shown: always tried on macOS and Windows, else by X or Wayland."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def is_root() -> bool:
    """Whether this process belongs to root, where JupyterLab wants to be told so."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own arguments and, for `lab`, those after the lesson, which are JupyterLab's."""
    own = list(arguments)
    if own[:1] != ["lab"]:
        return own, []
    has_lesson = len(own) > 1 and (not own[1].startswith("-") or own[1] in ("-h", "--help"))
    end = 2 if has_lesson else 1
    return own[:end], own[end:]
