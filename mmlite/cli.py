"""The command `mmlite`: open a lesson, run, build and release lessons, grade a class."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 (something fails) or 2 (wrong use)."""
    own, options_of_jupyter = split_lab(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(own)
    options.jupyter = options_of_jupyter
    # imported late, so that --help answers at once
    from mmlite.classroom import LessonError

    try:
        return options.command(options)
    except LessonError as error:
        print(f"mmlite: {error}", file=sys.stderr)
        return 2


def split_lab(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own arguments and, for `lab`, those after the lesson, which are JupyterLab's."""
    own = list(arguments)
    if own[:1] != ["lab"]:
        return own, []
    has_lesson = len(own) > 1 and (not own[1].startswith("-") or own[1] in ("-h", "--help"))
    end = 2 if has_lesson else 1
    return own[:end], own[end:]


def _parser() -> argparse.ArgumentParser:
    from mmlite import __version__

    parser = argparse.ArgumentParser(
        prog="mmlite",
        description="MetaMask from nothing: a notebook course with a tested library behind it.",
    )
    parser.add_argument("--version", action="version", version=f"mmlite {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    opens = commands.add_parser(
        "lab",
        help="open a lesson in JupyterLab",
        description="Open a lesson in JupyterLab. Where there is no display it prints the link. "
        "What follows goes to JupyterLab, for instance --ip 0.0.0.0 to reach it from outside a "
        "container, or --port 9000.",
    )
    opens.add_argument("lesson", nargs="?", default="01", help="for instance 01 (the default)")
    opens.set_defaults(command=lab)

    lessons = commands.add_parser("lessons", help="run or build the lessons")
    actions = lessons.add_subparsers(required=True, metavar="ACTION")

    runs = actions.add_parser(
        "run",
        help="run lessons without a browser and print their claims",
        description="Run lessons from top to bottom without changing them, and print each claim "
        "with its result. Exit code 1 if a claim fails or a lesson stops.",
    )
    runs.add_argument("lessons", nargs="*", help="for instance 01; all of them by default")
    runs.add_argument(
        "--solutions", action="store_true", help="run the masters in solutions/ instead"
    )
    runs.set_defaults(command=run_lessons)

    builds = actions.add_parser(
        "build",
        help="make lessons/ from solutions/",
        description="Execute the masters in solutions/, make the lessons from them, execute those "
        "and write both, with the time each took.",
    )
    builds.add_argument("lessons", nargs="*", help="for instance 01; all of them by default")
    builds.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit code 1 if a lesson is not what its master makes",
    )
    builds.set_defaults(command=build_lessons)

    releases = actions.add_parser(
        "release",
        help="gather what students get: lessons without answers",
        description="Write the lessons, without answers and hidden tests, and what students need "
        "to run them into a folder, or into a zip if the name ends in .zip.",
    )
    releases.add_argument("target", type=Path, metavar="DIR", help="a new folder, or a name.zip")
    releases.set_defaults(command=release_lessons)

    _add_grade(commands)
    return parser


def _add_grade(commands) -> None:
    grades = commands.add_parser(
        "grade",
        help="mark what students handed in",
        description="Mark notebooks in a sandbox and write grades.csv, grades.json and a page of "
        "feedback for each student. What was marked before and has not changed is kept. Exit code "
        "1 if a submission could not be marked, 2 for wrong use, 130 after Ctrl-C.",
    )
    grades.add_argument(
        "submissions",
        type=Path,
        help="a folder of notebooks named by student, nbgrader's submitted/, or a learning "
        "platform's zip",
    )
    grades.add_argument("--out", type=Path, required=True, metavar="DIR", help="where marks go")
    grades.add_argument("--lesson", help="for instance 01; by default names and functions tell")
    grades.add_argument(
        "--due",
        type=_local_time,
        metavar="TIME",
        help="what was changed later is late; local time, as 2026-11-30T18:00",
    )
    grades.add_argument(
        "--jobs", type=_positive, default=min(os.cpu_count() or 1, 4), help="submissions at a time"
    )
    grades.add_argument(
        "--timeout",
        type=_positive,
        default=20,
        metavar="S",
        help="seconds an exercise may take (20)",
    )
    grades.add_argument(
        "--memory",
        type=_positive,
        default=2048,
        metavar="M",
        help="MB a submission may take (2048)",
    )
    grades.add_argument(
        "--container",
        nargs="?",
        const="mmlite-grading",
        metavar="IMAGE",
        help="run submissions in containers of a Docker image (mmlite-grading)",
    )
    grades.set_defaults(command=grade_submissions)


def _local_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone().replace(tzinfo=None) if time.tzinfo else time


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive whole number")
    return number


def lab(options: argparse.Namespace) -> int:
    """Start JupyterLab on a lesson and wait for it."""
    from mmlite.classroom import find_course, find_lessons

    course = find_course()
    notebook = find_lessons(course / "lessons", [options.lesson])[0]
    command = jupyter_command(course, notebook, has_display(), is_root()) + options.jupyter
    print(f"Opening {notebook.name}. Stop with Ctrl-C.", flush=True)
    if os.name == "posix":  # JupyterLab takes this process's place, and so its signals
        os.chdir(course)
        os.execv(command[0], command)
    try:
        return subprocess.run(command, cwd=course).returncode
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


def has_display() -> bool:
    """Whether a browser could be shown: always tried on macOS and Windows, else by X or Wayland."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def is_root() -> bool:
    """Whether this process belongs to root, where JupyterLab wants to be told so."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def run_lessons(options: argparse.Namespace) -> int:
    """Run lessons, print their claims, and return 1 if one fails."""
    from mmlite.classroom import find_course, find_lessons, run

    course = find_course()
    folder = course / ("solutions" if options.solutions else "lessons")
    failed = 0
    for path in find_lessons(folder, options.lessons):
        with _progress(path) as bar:
            result = run(path, bar.update)
        print(f"{path.name}")
        for claim in result.claims:
            print(f"  {'✓' if claim.holds else '✗ FAILS'} {claim.text}")
        if result.fault:
            print(f"  ✗ {result.fault}")
        good = sum(claim.holds for claim in result.claims)
        print(
            f"  {good} of {len(result.claims)} claims hold"
            + (", but the lesson stopped early" if result.fault else "")
        )
        failed += not result.passed
    return 1 if failed else 0


def build_lessons(options: argparse.Namespace) -> int:
    """Build lessons from their masters, or with --check only compare them."""
    from mmlite.classroom import build, find_course, find_lessons, stale

    course = find_course()
    masters = find_lessons(course / "solutions", options.lessons)
    if options.check:
        faults = [f for path in masters for f in stale(path, course / "lessons" / path.name)]
        print("\n".join(faults) or f"{len(masters)} lessons are what their masters make")
        return 1 if faults else 0
    for path in masters:
        with _progress(path, times=2) as bar:
            build(path, course / "lessons" / path.name, bar.update)
    return 0


def release_lessons(options: argparse.Namespace) -> int:
    """Write what students get."""
    from mmlite.classroom import find_course, release

    names = release(find_course(), options.target)
    print(f"{options.target}: {len(names)} files, lessons without answers and hidden tests")
    return 0


def grade_submissions(options: argparse.Namespace) -> int:
    """Mark submissions, print what came of it, and return 1 if some could not be marked."""
    from tqdm import tqdm

    from mmlite.classroom import LessonError, find_course, lesson_names
    from mmlite.exercises import all_exercises

    if os.name != "posix":
        raise LessonError("mmlite grade needs Linux or macOS; on Windows use it inside WSL")
    from mmlite.grading.batch import grade
    from mmlite.grading.container import Container
    from mmlite.grading.sandbox import Sandbox, Settings

    course = find_course()
    names = lesson_names(course)
    lesson = _lesson_number(options.lesson, {id_[:2] for id_ in all_exercises()})
    settings = Settings(options.timeout, options.memory)
    if options.container:
        sandbox = Container(options.container)
    else:
        sandbox = Sandbox(hidden=(course, options.submissions, options.out))
    print(f"What holds each answer: {sandbox.description}.", file=sys.stderr)
    with sandbox, tqdm(unit="submission") as bar:
        try:
            done = grade(
                options.submissions,
                options.out,
                names,
                sandbox,
                settings,
                jobs=options.jobs,
                lesson=lesson,
                due=options.due,
                on_start=bar.reset,
                on_submission=lambda student: bar.update(),
            )
        except KeyboardInterrupt:
            tqdm.write("Stopped; run the same again to go on.", file=sys.stderr)
            return 130
    print(
        f"{done.submissions} submissions: {done.marked} marked now, {done.known} known already; "
        f"students late: {done.late}, with a notebook that could not be marked: {done.failed}"
    )
    print(f"{options.out / 'grades.csv'}, grades.json and feedback/ are written")
    return 1 if done.failed else 0


def _lesson_number(text: str | None, known: set[str]) -> str | None:
    from mmlite.classroom import LessonError

    if text is None:
        return None
    number = f"{int(text):02d}" if text.isdecimal() else text[:2]
    if number not in known:
        raise LessonError(
            f"there are no exercises of lesson {text!r}, only of: {', '.join(sorted(known))}"
        )
    return number


def _progress(path: Path, times: int = 1):
    """Return a progress bar over the code cells of a notebook."""
    from tqdm import tqdm

    from mmlite.classroom import code_cells, read_notebook

    total = times * len(code_cells(read_notebook(path)))
    return tqdm(total=total, desc=path.stem, unit="cell")


if __name__ == "__main__":
    sys.exit(main())
