"""`mmlite evaluate`: print what a checkpoint's representation is worth."""

import argparse

from mmlite.cli.arguments import path
from mmlite.cli.refusals import in_sentences


def add(commands) -> None:
    """Add the command to the parser's."""
    evaluates = commands.add_parser(
        "evaluate",
        help="print what a checkpoint's representation is worth",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Rebuild the network of a checkpoint that `mmlite train` wrote and print its "
        "accuracies.",
        epilog="example:\n  mmlite evaluate runs/simclr/last.pt",
    )
    evaluates.add_argument("checkpoint", type=path, help="the file, or the folder that it is in")
    evaluates.set_defaults(command=in_sentences(evaluate))


def evaluate(options: argparse.Namespace) -> int:
    """Print the accuracies of a checkpoint."""
    from mmlite.experiments import runs

    print(runs.evaluate(options.checkpoint, tell=print).table())
    return 0
