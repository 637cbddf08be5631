"""The command `mmlite`: open, run, build and release lessons; grade a class; train a recipe."""

import argparse
import importlib.util
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from mmlite.support import torchrun

CLOSED_PIPE = 141  # what a shell makes of the signal SIGPIPE
COURSE = ("nbformat", "nbclient", "ipykernel", "jupyterlab", "ipywidgets", "matplotlib")


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
        if not _leave_closed_pipes():  # it was another pipe: a fault of ours
            raise
        return CLOSED_PIPE


def _leave_closed_pipes() -> bool:
    """Let what is still to be written to a closed pipe go nowhere; return whether there is one."""
    found = False
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if _is_closed(stream):
            found = True
            with suppress(OSError, ValueError):  # no file: a test's, or a notebook's
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return found


def _is_closed(stream) -> bool:
    """Whether nobody reads what is written to a stream."""
    try:
        stream.flush()
    except BrokenPipeError:
        return True
    # of a stream without a buffer nothing is left to flush; Windows has no poll
    with suppress(OSError, ValueError, AttributeError):
        look = select.poll()
        look.register(stream.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in look.poll(0))
    return False


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
    own, options_of_jupyter = split_lab(arguments)
    options = _parser().parse_args(own)
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
            f"mmlite: this command needs {name}, which is not installed; what lessons need is "
            f"installed by `pip install {' '.join(COURSE)}`",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        # no file that a user named: a fault of ours, or a pipe
        if error.filename is None or isinstance(error, BrokenPipeError):
            raise
        print(f"mmlite: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def _need(*names: str) -> None:
    """Raise a ModuleNotFoundError for the first of these packages that is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


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
    opens.add_argument(
        "lesson",
        nargs="?",
        type=os.path.expanduser,
        default="01",
        help="for instance 01 (the default)",
    )
    opens.set_defaults(command=lab)

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
    releases.add_argument("target", type=_path, metavar="DIR", help="a new folder, or a name.zip")
    releases.set_defaults(command=release_lessons)

    _add_grade(commands)
    _add_training(commands)
    return parser


def _add_grade(commands) -> None:
    grades = commands.add_parser(
        "grade",
        help="mark what students handed in",
        description="Mark notebooks in a sandbox and write a page of the class, grades.csv, "
        "grades.json and feedback for each student. What was marked before stays. Exit code "
        "1 if a submission could not be marked, 2 for wrong use, 130 after Ctrl-C.",
    )
    grades.add_argument(
        "submissions",
        type=_path,
        nargs="?",
        help="a folder of notebooks named by student, nbgrader's submitted/, or a learning "
        "platform's zip",
    )
    grades.add_argument("--out", type=_path, metavar="DIR", help="where marks go")
    grades.add_argument("--lesson", help="for instance 01; by default names and functions tell")
    grades.add_argument(
        "--due",
        type=_local_time,
        metavar="TIME",
        help="what was changed later is late; local time, as 2026-11-30T18:00, or a day to its end",
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
        "--roster",
        type=_path,
        metavar="FILE",
        help="a table of the class, with a column named student or id: who handed in nothing",
    )
    grades.add_argument(
        "--overrides",
        type=_path,
        metavar="FILE",
        help="a table of student, exercise, points, comment: marks set by hand, which later runs "
        "keep and another table replaces",
    )
    grades.add_argument(
        "--forget",
        action="append",
        default=[],
        metavar="STUDENT",
        help="take a student of an earlier run out of the marks",
    )
    grades.add_argument(
        "--isolation",
        choices=("namespaces", "landlock", "limits"),
        help="hold answers so, or mark nothing; by default by the first that the system offers",
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
        help="run submissions in containers of a Docker image (mmlite-grading); stands last",
    )
    grades.set_defaults(command=grade_submissions)


def _local_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if len(text) <= len("2026-11-30"):  # a day, which is not over as it begins
            time = time.replace(hour=23, minute=59, second=59)
        return time.astimezone().replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; give it as 2026-11-30T18:00, or a day as 2026-11-30"
        ) from None


def _path(text: str) -> Path:
    """Return a path; of `--out=~/x` no shell replaces the ~."""
    from mmlite.support import checks

    try:
        return checks.path("it", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def lab(options: argparse.Namespace) -> int:
    """Start JupyterLab on a lesson and wait for it."""
    from mmlite.course.notebooks import find_course, find_lessons

    _need("nbformat", "jupyterlab", "ipykernel")
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
    from mmlite.course.notebooks import find_course, find_lessons, run

    _need("nbformat", "nbclient", "ipykernel")
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

    _need("nbformat", "nbclient", "ipykernel")
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

    _need("nbformat")
    done = release(find_course(), options.target)
    for name in done.left_out:
        print(f"left out, for git does not track it: {name}", file=sys.stderr)
    print(f"{options.target}: {len(done.files)} files, lessons without answers and hidden tests")
    return 0


def grade_submissions(options: argparse.Namespace) -> int:
    """Mark submissions, print what came of it, and return 1 if some could not be marked."""
    from tqdm import tqdm

    from mmlite.course.notebooks import LessonError, find_course, lesson_names
    from mmlite.exercises import all_exercises

    _need("nbformat")
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
    with _sandbox(options, course) as sandbox, tqdm(unit="submission") as bar:
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
            tqdm.write("Stopped; run the same again to go on.", file=sys.stderr)
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


def _progress(path: Path, times: int = 1):
    """Return a progress bar over the code cells of a notebook."""
    from tqdm import tqdm

    from mmlite.course.notebooks import code_cells, read_notebook

    total = times * len(code_cells(read_notebook(path)))
    return tqdm(total=total, desc=path.stem, unit="cell")


# training


def _add_training(commands) -> None:
    """Add the commands train, evaluate and bench."""
    from mmlite.experiments.recipes import METHODS, PRECISIONS, RECIPES, SCHEDULES, numbers

    trains = commands.add_parser(
        "train",
        help="train a recipe into a folder and evaluate it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a recipe into a folder, with a checkpoint (last.pt) and one line of "
        "JSON an epoch\n(log.jsonl) in it, and print what the representation is worth.",
        epilog="recipes:\n"
        + "".join(f"  {name:15} {recipe.about}\n" for name, recipe in RECIPES.items())
        + "\nmethods:\n"
        + "".join(f"  {name:15} {about}\n" for name, about in METHODS.items())
        + "\nexamples:\n"
        "  mmlite train --recipe fashion-laptop --method simclr --out runs/simclr\n"
        "  mmlite train --recipe fashion-laptop --method metamask --schedule lookahead \\\n"
        "      --epochs 2 --seed 1 --out runs/mask\n"
        "  mmlite train --recipe cifar10 --method joint --out runs/joint --dry-run\n"
        "  mmlite train --recipe fashion-laptop --method simclr --out runs/simclr --resume\n"
        "  torchrun --nproc-per-node 2 -m mmlite train --recipe fashion-laptop \\\n"
        "      --method metamask --out runs/two\n"
        "\nexit codes: 0 trained; 1 stopped on the way (the checkpoint stays); 2 not started, "
        "because an\nargument is wrong, images are missing or the folder holds another run.",
    )
    trains.add_argument("--recipe", required=True, choices=RECIPES, metavar="NAME")
    trains.add_argument("--method", required=True, choices=METHODS, metavar="METHOD")
    trains.add_argument("--out", required=True, type=_path, metavar="DIR", help="the run's folder")
    trains.add_argument(
        "--schedule", choices=SCHEDULES, help="of metamask: paper (the default) or lookahead"
    )
    trains.add_argument("--seed", type=int, default=0, help="of weights, order and views (0)")
    trains.add_argument(
        "--resume", action="store_true", help="go on from DIR's checkpoint if there is one"
    )
    trains.add_argument(
        "--dry-run", action="store_true", help="print the plan and exit; nothing is written"
    )
    trains.add_argument("--quiet", action="store_true", help="no progress bar")
    trains.add_argument("--download", action="store_true", help="fetch a data set that is missing")
    trains.add_argument(
        "--checkpoint-every",
        type=int,
        metavar="STEPS",
        help="write the checkpoint also within an epoch; by default after each",
    )
    trains.add_argument(
        "--no-sync-batch-norm",
        dest="sync_batch_norm",
        action="store_false",
        help="of several processes, let each normalise with the moments of its own share",
    )
    trains.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="what losses and gradients are computed in, in place of the recipe's; weights are "
        "float32 in any case",
    )
    trains.add_argument(
        "--compile",
        action="store_true",
        help="compile the network first, which takes a minute: for long runs",
    )
    own = trains.add_argument_group("numbers in place of the recipe's")
    for one in numbers():
        own.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=float if "float" in str(one.type) else int,
            metavar="NUMBER",
            help=one.metadata["about"],
        )
    trains.set_defaults(command=_in_sentences(train))

    evaluates = commands.add_parser(
        "evaluate",
        help="print what a checkpoint's representation is worth",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Rebuild the network of a checkpoint that `mmlite train` wrote and print its "
        "accuracies.",
        epilog="example:\n  mmlite evaluate runs/simclr/last.pt",
    )
    evaluates.add_argument("checkpoint", type=_path, help="the file, or the folder that it is in")
    evaluates.set_defaults(command=_in_sentences(evaluate))

    benches = commands.add_parser(
        "bench",
        help="list the benchmarks of a clone, or run one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="List the scripts in benchmarks/, or run one; what follows its name goes to "
        "it.",
        epilog="examples:\n  mmlite bench\n  mmlite bench shortcut --seeds 2",
    )
    benches.add_argument("name", nargs="?", help="for instance views; without it they are listed")
    benches.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    benches.set_defaults(command=bench)


def _in_sentences(command):
    """Return the command with its refusals as a sentence and an exit code: 2 before, 1 on the way.

    Only these errors are sentences for a user; any other is a fault of ours, with its traceback.
    """

    def run(options: argparse.Namespace) -> int:
        import warnings

        from mmlite.data import DataError
        from mmlite.distributed import ProcessError
        from mmlite.training import TrainingError
        from mmlite.training.checkpoints import CheckpointError, CheckpointWarning, WriteError

        rank = os.environ.get("RANK", "") if os.environ.get("WORLD_SIZE", "1") != "1" else ""
        who = f"mmlite, process {rank}" if rank else "mmlite"

        def say(message) -> None:
            print(f"{who}: {message}", file=sys.stderr, flush=True)

        with warnings.catch_warnings():
            show = warnings.showwarning

            def show_ours(message, category, *where) -> None:
                say(message) if category is CheckpointWarning else show(message, category, *where)

            warnings.simplefilter("always", CheckpointWarning)
            warnings.showwarning = show_ours
            try:
                return command(options)
            except (TrainingError, WriteError) as error:
                say(error)
                return 1
            except (ValueError, CheckpointError, DataError) as error:
                say(error)
                return 2
            except ProcessError as error:
                say(f"{error}. With --resume the run goes on from its last checkpoint")
                return 1
            except KeyboardInterrupt:
                if command is not train:
                    raise
                say("stopped; the same command with --resume goes on from the last checkpoint")
                return 1

    return run


def train(options: argparse.Namespace) -> int:
    """Train a recipe, or with --dry-run print what would be trained."""
    recipe = _recipe(options)
    torchrun.check_variables()
    first = not several() or os.environ["RANK"] == "0"
    if options.dry_run:
        lines = plan(recipe, options)
        if first:
            print("\n".join(lines))
        return 0
    from mmlite.experiments import runs

    run = runs.train(
        recipe,
        options.method,
        options.out,
        schedule=options.schedule or "paper",
        seed=options.seed,
        resume=options.resume,
        progress=not options.quiet,
        download=options.download,
        checkpoint_every=options.checkpoint_every,
        sync_batch_norm=options.sync_batch_norm,
        compile=options.compile,
    )
    if first:
        print(run.table())
    return 0


def several() -> bool:
    """Whether torchrun has started this process among others.

    Raises:
        ValueError: a variable of torchrun's is no number.
    """
    return torchrun.world_size() > 1


def _recipe(options: argparse.Namespace):
    """Return the recipe with the numbers that the command line gives in place of its own."""
    from mmlite.experiments.recipes import RECIPES, numbers

    if options.schedule and options.method != "metamask":
        raise ValueError(f"--schedule is of --method metamask, and {options.method} has none")
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed must be between 0 and 2⁶³ − 1, got {options.seed}")
    names = [*(one.name for one in numbers()), "precision"]
    given = {name: getattr(options, name) for name in names}
    changes = {name: value for name, value in given.items() if value is not None}
    return RECIPES[options.recipe].but(**changes)


def plan(recipe, options: argparse.Namespace) -> list[str]:
    """Return the lines of a dry run: every number of the run, and what is in its folder."""
    from mmlite.data import device
    from mmlite.distributed import shard_sizes
    from mmlite.experiments.recipes import METHODS, numbers
    from mmlite.experiments.runs import CHECKPOINT
    from mmlite.training.checkpoints import exists

    before = "" if recipe.background is None else f", backgrounds of strength {recipe.background:g}"
    schedule = f", schedule {options.schedule or 'paper'}" if options.method == "metamask" else ""
    compiled = ", compiled" if options.compile else ""
    there = exists(options.out / CHECKPOINT)
    begin = "from the checkpoint there" if options.resume and there else "from the start"
    if there and not options.resume:
        begin = "refused: there is a run already; --resume goes on with it"
    lines = [
        f"recipe    {recipe.name}: {recipe.about}",
        f"method    {options.method}{schedule}: {METHODS[options.method]}",
        f"data      {recipe.data}/{recipe.split}{before}",
        f"encoder   {recipe.encoder} in {recipe.precision}{compiled}, on {device()}",
        f"folder    {options.out}, {begin}",
        f"seed      {options.seed}",
    ]
    if several():
        sizes = shard_sizes(recipe.batch_size, torchrun.world_size())
        moments = "the whole batch's" if options.sync_batch_norm else "each share's"
        lines.append(
            f"processes {len(sizes)}, with {sizes[-1]} to {sizes[0]} images of a batch each; "
            f"BatchNorm takes {moments} moments"
        )
    lines.append("numbers")
    for one in numbers():
        value = getattr(recipe, one.name)
        shown = "all" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"
        lines.append(f"  {one.name:20} {shown:>8}  {one.metadata['about']}")
    return lines


def evaluate(options: argparse.Namespace) -> int:
    """Print the accuracies of a checkpoint."""
    from mmlite.experiments import runs

    print(runs.evaluate(options.checkpoint, tell=print).table())
    return 0


def bench(options: argparse.Namespace) -> int:
    """List the benchmarks, or run one and return its exit code."""
    from mmlite.course.notebooks import find_course

    folder = find_course() / "benchmarks"
    scripts = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "common"}
    if options.name is None and not scripts:
        print(f"mmlite: there are no benchmarks in {folder}; a clone has them", file=sys.stderr)
        return 2
    if options.name is None:
        for name, path in scripts.items():
            print(f"{name:15} {_first_line(path)}")
        return 0
    if options.name not in scripts:
        known = ", ".join(scripts) or "none here"
        print(
            f"mmlite: there is no benchmark {options.name!r}; there are: {known}", file=sys.stderr
        )
        return 2
    command = [sys.executable, str(scripts[options.name]), *options.arguments]
    return 1 if subprocess.run(command).returncode else 0


def _first_line(path: Path) -> str:
    """Return the first line of a script's docstring."""
    import ast

    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
