"""`mmlite lab`: open a lesson in JupyterLab."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmlite.cli.arguments import need

CONFIG = Path(__file__).with_name("jupyter")  # what JupyterLab reads before its user's own
RESTART = "--restart"


def add(commands) -> None:
    """Add the command to the parser's."""
    opens = commands.add_parser(
        "lab",
        help="open a lesson in JupyterLab",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Open your own copy of a lesson in JupyterLab. The copies are in work/, which "
        "git leaves alone.\nWhere there is no display it prints the link. Further options are "
        "passed to JupyterLab.",
        epilog="examples:\n"
        "  mmlite lab                   lesson 01, or your copy of it\n"
        "  mmlite lab 03 --restart      lesson 03 from its beginning; your old copy is kept\n"
        "  mmlite lab --ip 0.0.0.0      to reach it from outside a container\n"
        "  mmlite lab 02 --port 9000",
    )
    opens.add_argument(
        "lesson",
        nargs="?",
        type=os.path.expanduser,
        default="01",
        help="for instance 01 (the default)",
    )
    opens.add_argument(
        RESTART, action="store_true", help="start the lesson over; your old copy is kept beside it"
    )
    opens.set_defaults(command=lab)


def lab(options: argparse.Namespace) -> int:
    """Start JupyterLab on a lesson and wait for it."""
    from mmlite.course.notebooks import find_course, find_lessons

    need("nbformat", "jupyterlab", "ipykernel")
    course = find_course()
    lesson = find_lessons(course / "lessons", [options.lesson])[0]
    print("Starting JupyterLab …", flush=True)
    notebook = own_copy(course, lesson, options.restart)
    os.environ.update(with_our_configuration(os.environ))
    os.chdir(course)
    from mmlite.course.lab_server import serve

    serve(jupyter_options(course, notebook, has_display(), is_root()) + options.jupyter)
    return 0


def own_copy(course: Path, lesson: Path, restart: bool = False) -> Path:
    """Return the student's copy of a lesson, or the lesson itself where none can be written."""
    from mmlite.course.own_copies import copy_lessons, start_over

    try:
        if restart and (aside := start_over(course, lesson)):
            print(f"Your old copy is now {aside.relative_to(course)}.")
        copies = copy_lessons(course)
    except OSError as error:
        print(
            f"mmlite: {error.filename}: {error.strerror}. So this opens {lesson.name} itself; save "
            "your work elsewhere",
            file=sys.stderr,
        )
        return lesson
    for name in copies.outdated:
        print(
            f"Lesson {name} has changed since you began it. Your copy stays as it is; "
            f"mmlite lab {name[:2]} {RESTART} starts the new one and keeps yours beside it."
        )
    return copies.folder / lesson.name


def jupyter_options(course: Path, notebook: Path, display: bool, root: bool) -> list[str]:
    """Return JupyterLab's options to open a notebook. A busy port is stepped over."""
    options = [f"--ServerApp.root_dir={course}"]
    # so that the link it prints leads to the lesson; a file argument would not
    options += [f"--LabApp.default_url=/lab/tree/{notebook.relative_to(course).as_posix()}"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    options += [] if display else ["--no-browser"]
    options += ["--allow-root"] if root else []
    return options


def with_our_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which JupyterLab shows the lesson and no question about news.

    It leaves nbgrader out too, if a teacher has it: its buttons would stand in every lesson, and
    "Validate" would hold the server up for minutes.
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
    restart = [RESTART] if RESTART in own else []
    own = [argument for argument in own if argument != RESTART]
    has_lesson = len(own) > 1 and (not own[1].startswith("-") or own[1] in ("-h", "--help"))
    end = 2 if has_lesson else 1
    return own[:end] + restart, own[end:]
