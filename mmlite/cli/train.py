"""`mmlite train`: train a recipe into a folder and evaluate it."""

import argparse
import os

from mmlite.cli.arguments import path
from mmlite.cli.refusals import in_sentences
from mmlite.support import torchrun

STOPPED = "stopped; the same command with --resume goes on from the last checkpoint"


def add(commands) -> None:
    """Add the command to the parser's."""
    from mmlite.experiments.recipes import (
        METHODS,
        PRECISIONS,
        RECIPES,
        SCHEDULES,
        is_whole,
        numbers,
    )

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
    trains.add_argument("--out", required=True, type=path, metavar="DIR", help="the run's folder")
    trains.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="metamask's schedule: paper (the default) or lookahead",
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
        help="also write the checkpoint every STEPS steps; by default only after each epoch",
    )
    trains.add_argument(
        "--no-sync-batch-norm",
        dest="sync_batch_norm",
        action="store_false",
        help="with several processes, BatchNorm uses the statistics of each one's part of a batch",
    )
    trains.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="precision of losses and gradients, instead of the recipe's; weights are "
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
            type=int if is_whole(one) else float,
            metavar="NUMBER",
            help=one.metadata["about"],
        )
    trains.set_defaults(command=in_sentences(train, stopped=STOPPED))


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
    return RECIPES[options.recipe].replace(**changes)


def plan(recipe, options: argparse.Namespace) -> list[str]:
    """Return the lines of a dry run: every number of the run, and what is in its folder."""
    from mmlite.distributed import shard_sizes
    from mmlite.experiments.recipes import METHODS, numbers
    from mmlite.experiments.runs import CHECKPOINT
    from mmlite.support.devices import device
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
