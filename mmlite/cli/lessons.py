"""`mmlite lessons`: run the lessons, build them from their masters, gather what students get."""

import argparse
import os
import sys
from pathlib import Path

from mmlite.cli import arguments
from mmlite.support.progress import progress_bar


def add(commands) -> None:
    """Add the command and its actions to the parser's."""
    lessons = commands.add_parser("lessons", help="run or build the lessons")
    actions = lessons.add_subparsers(required=True, metavar="ACTION")

    runs = actions.add_parser(
        "run",
        help="run lessons without a browser and print their claims",
        description="Run lessons from top to bottom without changing them, and print each claim "
        "with its result. Exit code 1 if a claim fails or a lesson stops.",
    )
    runs.add_argument(
        "lessons",
        nargs="*",
        type=os.path.expanduser,
        help="for instance 01; all of them by default",
    )
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
    builds.add_argument(
        "lessons",
        nargs="*",
        type=os.path.expanduser,
        help="for instance 01; all of them by default",
    )
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
    releases.add_argument(
        "target", type=arguments.path, metavar="DIR", help="a new folder, or a name.zip"
    )
    releases.add_argument(
        "--no-solutions",
        action="store_true",
        help="leave out what shows a solution after a try (`mmlite.reveal`)",
    )
    releases.set_defaults(command=release_lessons)


def run_lessons(options: argparse.Namespace) -> int:
    """Run lessons, print their claims, and return 1 if one fails."""
    from mmlite.course.notebooks import find_course, find_lessons, run

    arguments.need("nbformat", "nbclient", "ipykernel")
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
    from mmlite.course.build import build, stale
    from mmlite.course.notebooks import find_course, find_lessons

    arguments.need("nbformat", "nbclient", "ipykernel")
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
    from mmlite.course.notebooks import find_course
    from mmlite.course.release import release

    arguments.need("nbformat")
    done = release(find_course(), options.target, solutions=not options.no_solutions)
    for name in done.left_out:
        print(f"left out, for git does not track it: {name}", file=sys.stderr)
    print(f"{options.target}: {len(done.files)} files, lessons without answers and hidden tests")
    return 0


def _progress(path: Path, times: int = 1):
    """Return a progress bar over the code cells of a notebook."""
    from mmlite.course.notebooks import code_cells, read_notebook

    total = times * len(code_cells(read_notebook(path)))
    return progress_bar("cell", total, title=path.stem)
