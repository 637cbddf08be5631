"""`mmlite study`: run a study by its protocol, or report what it found."""

import argparse
from pathlib import Path

from mmlite.cli.arguments import need, path, positive
from mmlite.cli.refusals import in_sentences

STOPPED = "stopped; the same command goes on with the runs that are missing"


def add(commands) -> None:
    """Add the command to the parser's."""
    studies = commands.add_parser(
        "study",
        help="run a study by its protocol, or report what it found",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compare methods over seeds by a protocol that was written before: tune each, "
        "run the\nchosen settings on fresh seeds, and say what the protocol's tests say. Each run "
        "has one\nline of JSON in DIR (tuning.jsonl, main.jsonl); what is there is not run again.",
        epilog="examples:\n"
        "  mmlite study benchmarks/trial/protocol.toml --out runs/trial --jobs 2\n"
        "  mmlite study benchmarks/trial/protocol.toml --out runs/trial --only metamask joint\n"
        "  mmlite study --report benchmarks/trial\n"
        "\nexit codes: 0 all runs are done; 1 stopped on the way (what is done stays); 2 not "
        "started, because\nthe protocol or an argument is wrong, or DIR holds results of another "
        "protocol.",
    )
    studies.add_argument("protocol", nargs="?", type=path, metavar="PROTOCOL", help="a TOML file")
    studies.add_argument("--out", type=path, metavar="DIR", help="the study's folder")
    studies.add_argument(
        "--jobs", type=positive, default=1, metavar="N", help="runs side by side, a core each (1)"
    )
    studies.add_argument(
        "--only", nargs="+", metavar="ARM", help="these arms, and those whose mask they need"
    )
    studies.add_argument(
        "--report", type=path, metavar="DIR", help="run nothing; print what is in this folder"
    )
    studies.add_argument("--quiet", action="store_true", help="no progress bar")
    studies.set_defaults(command=in_sentences(study, stopped=STOPPED))


def study(options: argparse.Namespace) -> int:
    """Run a study or report it; print its tables and draw its forest plot."""
    from mmlite.experiments.study.lines import PROTOCOL, read_results
    from mmlite.experiments.study.protocol_file import read_protocol

    if options.report is not None:
        if options.protocol or options.out or options.only:
            raise ValueError("--report DIR stands alone: it runs nothing")
        folder = options.report
        results = read_results(folder, read_protocol(folder / PROTOCOL))
    else:
        if options.protocol is None or options.out is None:
            raise ValueError("give a PROTOCOL and --out DIR, or --report DIR")
        from mmlite.experiments.study.run import run_study

        folder = options.out
        results = run_study(
            options.protocol,
            folder,
            jobs=options.jobs,
            only=options.only,
            progress=not options.quiet,
        )
    from mmlite.experiments.study.report import report

    print(report(results))
    if drawn := draw(results, folder):
        print(f"\nThe differences are drawn in {drawn}.")
    return 0


def draw(results, folder: Path) -> Path | None:
    """Write the forest plot of the differences that are complete; None if there is none to draw.

    Drawing needs the extra [course].
    """
    from mmlite.experiments.study.report import named, outcomes

    found = outcomes(results)
    if not found:
        return None
    try:
        need("matplotlib")
    except ModuleNotFoundError:
        return None
    from mmlite.course.forest import forest

    protocol = results.protocol
    several = len(protocol.main_worlds) > 1
    picture = forest(
        {
            named(one.difference, several): tuple(100 * value for value in one.interval)
            for one in found
        },
        "difference in accuracy, points (95 %)",
        f"Forest plot of {len(found)} differences of the study: {protocol.name}",
        margin=100 * protocol.margin,
        shown=sum(one.p_adjusted is None for one in found),
    )
    drawn = folder / "forest.png"
    picture.save(drawn)
    return drawn
