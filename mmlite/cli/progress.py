"""`mmlite progress`: which exercises you passed, and when."""

import argparse

from mmlite.cli.arguments import need


def add(commands) -> None:
    """Add the command to the parser's."""
    shows = commands.add_parser(
        "progress",
        help="which exercises you passed, and when",
        description="Tell how many exercises of each lesson you passed, or of one lesson which and "
        "when. It is kept in work/progress.json (or where MMLITE_PROGRESS says), which is yours: "
        "no mark depends on it.",
    )
    shows.add_argument("lesson", nargs="?", help="for instance 01; all of them by default")
    shows.set_defaults(command=show)


def show(options: argparse.Namespace) -> int:
    """Print one lesson's exercises, or a line for each lesson."""
    from mmlite.course.notebooks import LessonError, find_course, lesson_names
    from mmlite.course.progress import ProgressError, attempts_in, course_file, progress_file
    from mmlite.exercises.notebook import exercises_of, report

    need("nbformat")
    path = progress_file() or course_file()
    try:
        known = {} if path is None else attempts_in(path)
        if options.lesson is not None:
            print(report(options.lesson.zfill(2), known))
            return 0
    except (ProgressError, ValueError) as error:
        raise LessonError(str(error)) from None
    for lesson, name in lesson_names(find_course()).items():
        ids = [exercise.id for exercise in exercises_of(lesson)]
        when = (known[id].passed for id in ids if id in known)
        passed = [moment for moment in when if moment is not None]
        last = f", the last one {max(passed)}" if passed else ""
        print(f"{lesson} {name}: {len(passed)} of {len(ids)} exercises passed{last}")
    return 0
