"""The whole command: its parser, its exit codes, and errors as sentences."""

import argparse
import sys
from collections.abc import Sequence

from mmlite.cli import bench, evaluate, grade, lab, lessons, progress, site, study, train
from mmlite.cli.pipes import leave_closed_pipes

CLOSED_PIPE = 141  # what a shell makes of the signal SIGPIPE
COURSE = (  # what the extra [course] brings, as it is imported
    *("nbformat", "nbclient", "ipykernel", "jupyterlab", "ipywidgets", "IPython", "matplotlib"),
    *("jinja2", "yaml"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0, 1 (something fails), 2 (wrong use), 130 (Ctrl-C) or 141 (nobody reads on, as of `| head`).
    """
    try:
        try:
            return _main(arguments)
        finally:  # here, because as the interpreter ends a closed pipe is a traceback
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
    except BrokenPipeError:
        if not leave_closed_pipes():  # it was another pipe: a fault of ours
            raise
        return CLOSED_PIPE


def _main(arguments: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):  # a pipe on Windows knows neither ✓ nor τ
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("mmlite: stopped", file=sys.stderr)
        return 130


def _run(arguments: Sequence[str]) -> int:
    own, options_of_jupyter = lab.split(arguments)
    options = parser().parse_args(own)
    options.jupyter = options_of_jupyter
    # imported late, so that --help answers at once
    from mmlite.course.notebooks import LessonError

    try:
        return options.command(options)
    except LessonError as error:
        print(f"mmlite: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in COURSE:
            raise
        print(
            f"mmlite: this command needs {name}, which is not installed; "
            "`pip install -e '.[course]'` in a clone installs all that lessons and grading need",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        # no file that a user named: a fault of ours, or a pipe
        if error.filename is None or isinstance(error, BrokenPipeError):
            raise
        print(f"mmlite: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    from mmlite import __version__

    whole = argparse.ArgumentParser(
        prog="mmlite",
        description="MetaMask from nothing: a notebook course with a tested library behind it.",
    )
    whole.add_argument("--version", action="version", version=f"mmlite {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in (lab, progress, lessons, grade, train, evaluate, study, site, bench):
        command.add(commands)
    return whole
