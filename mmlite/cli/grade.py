"""`mmlite grade`: mark what students handed in."""

import argparse
import os
import sys
from pathlib import Path

from mmlite.cli.arguments import local_time, need, path, positive
from mmlite.support.progress import progress_bar


def add(commands) -> None:
    """Add the command to the parser's."""
    grades = commands.add_parser(
        "grade",
        help="mark what students handed in",
        description="Mark notebooks in a sandbox and write a page of the class, grades.csv, "
        "grades.json and feedback for each student. What was marked before stays. Exit code "
        "1 if a submission could not be marked, 2 for wrong use, 130 after Ctrl-C.",
    )
    grades.add_argument(
        "submissions",
        type=path,
        nargs="?",
        help="a folder of notebooks named by student, nbgrader's submitted/, or a learning "
        "platform's zip",
    )
    grades.add_argument("--out", type=path, metavar="DIR", help="where marks go")
    grades.add_argument("--lesson", help="for instance 01; by default names and functions tell")
    grades.add_argument(
        "--due",
        type=local_time,
        metavar="TIME",
        help="submissions after this local time are late, as 2026-11-30T18:00; a day means its end",
    )
    grades.add_argument(
        "--jobs", type=positive, default=min(os.cpu_count() or 1, 4), help="submissions at a time"
    )
    grades.add_argument(
        "--timeout",
        type=positive,
        default=20,
        metavar="S",
        help="seconds an exercise may take (20)",
    )
    grades.add_argument(
        "--memory",
        type=positive,
        default=2048,
        metavar="M",
        help="MB a submission may take (2048)",
    )
    grades.add_argument(
        "--roster",
        type=path,
        metavar="FILE",
        help="a table of the class, with a column named student or id: says who handed in nothing",
    )
    grades.add_argument(
        "--overrides",
        type=path,
        metavar="FILE",
        help="a table of student, exercise, points, comment: marks set by hand, which later runs "
        "keep and another table replaces",
    )
    grades.add_argument(
        "--forget",
        action="append",
        default=[],
        metavar="STUDENT",
        help="remove a student of an earlier run from the marks",
    )
    grades.add_argument(
        "--isolation",
        choices=("namespaces", "landlock", "limits"),
        help="use this isolation or mark nothing; by default the tightest that the system offers",
    )
    grades.add_argument(
        "--self-check",
        action="store_true",
        help="mark the course's own masters instead of submissions: all have to earn all points",
    )
    grades.add_argument(
        "--container",
        nargs="?",
        const="mmlite-grading",
        metavar="IMAGE",
        help="run submissions in containers of a Docker image (mmlite-grading); give it last",
    )
    grades.set_defaults(command=grade_submissions)


def grade_submissions(options: argparse.Namespace) -> int:
    """Mark submissions, print what came of it, and return 1 if some could not be marked."""
    from mmlite.course.notebooks import LessonError, find_course, lesson_names
    from mmlite.exercises import all_exercises

    need("nbformat")
    if os.name != "posix":
        raise LessonError("mmlite grade needs Linux or macOS; on Windows use it inside WSL")
    from mmlite.grading.host import selfcheck
    from mmlite.grading.host.batch import Wishes, grade
    from mmlite.grading.host.remote import Settings

    course = find_course()
    if options.self_check:
        return _check_grader(options, course)
    if options.submissions is None or options.out is None:
        raise LessonError("name the submissions, and with --out DIR where the marks go")
    names = lesson_names(course)
    marked = {id_[:2] for id_ in all_exercises()}
    lesson = _lesson_number(options.lesson, {n: names.get(n, "") for n in sorted(marked)})
    if options.out.exists() and not options.out.is_dir():
        raise LessonError(f"--out {options.out} is a file; name a folder")
    settings = Settings(options.timeout, options.memory)
    wishes = Wishes(lesson, options.due, options.roster, options.overrides, tuple(options.forget))
    with _sandbox(options, course) as sandbox, progress_bar("submission") as bar:
        try:
            selfcheck.known_answers(sandbox)
            done = grade(
                options.submissions,
                options.out,
                names,
                sandbox,
                settings,
                wishes,
                jobs=options.jobs,
                on_start=bar.reset,
                on_submission=lambda student: bar.update(),
            )
        except KeyboardInterrupt:
            bar.write("Stopped; run the same again to go on.", file=sys.stderr)
            return 130
    print(
        f"{done.submissions} submissions: {done.marked} marked now, {done.known} known already; "
        f"students late: {done.late}, with a notebook that could not be marked: {done.failed}"
    )
    for remark in done.remarks:
        print(remark)
    print(f"{options.out / 'index.html'}, grades.csv, grades.json and feedback/ are written")
    return 1 if done.failed else 0


def _sandbox(options: argparse.Namespace, course: Path):
    """Start what answers are held by, and say what that is."""
    from mmlite.grading.host.container import Container
    from mmlite.grading.host.sandbox import Sandbox

    sandbox: Container | Sandbox
    if options.container:
        sandbox = Container(options.container)
    else:
        places = [place for place in (options.submissions, options.out) if place is not None]
        sandbox = Sandbox(hidden=(course, *places), isolation=options.isolation)
    print(f"What holds each answer: {sandbox.description}.", file=sys.stderr)
    return sandbox


def _check_grader(options: argparse.Namespace, course: Path) -> int:
    """Mark the masters, or known answers where there are none; return 1 if one loses points."""
    from mmlite.grading.host import selfcheck

    masters = sorted((course / "solutions").glob("[0-9][0-9]_*.ipynb"))
    with _sandbox(options, course) as sandbox:
        selfcheck.known_answers(sandbox)
        faults = selfcheck.masters(sandbox, masters)
    for fault in faults:
        print(fault)
    told = f"{len(masters)} masters" if masters else "known answers (there are no masters here)"
    print(f"{told} marked: {'points were lost' if faults else 'all points'}")
    return 1 if faults else 0


def _lesson_number(text: str | None, known: dict[str, str]) -> str | None:
    """Return the number of the lesson meant by "1", "01" or "01_contrastive"."""
    from mmlite.course.notebooks import LessonError

    if text is None:
        return None
    for number, name in known.items():
        if text in (number, number.lstrip("0"), f"{number}_{name}"):
            return number
    raise LessonError(f"there are no exercises of lesson {text!r}, only of: {', '.join(known)}")
