"""A recipe trained into a folder, and what came of it.

    from mmlite.experiments.recipes import RECIPES
    from mmlite.experiments.runs import train
    print(train(RECIPES["fashion-laptop"], "metamask", out="runs/first").table())

The folder holds `last.pt`, the checkpoint, from which `evaluate` reads everything it needs, its
lock, and `log.jsonl`, one line of JSON for each epoch: the epoch's number, its mean loss, images a
second and seconds since the start or the last resumption, and of a mask the least and the greatest
entry.
"""

import time
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mmlite import distributed
from mmlite.distributed.batch_norm import convert_sync_batchnorm
from mmlite.encoders import encode
from mmlite.evaluation import knn_accuracy, linear_probe_accuracy
from mmlite.experiments.log import Log
from mmlite.experiments.parts import (
    Parts,
    build,
    channels_of,
    check_recipe,
    fit_parts,
    images_of,
)
from mmlite.experiments.recipes import METHODS, SCHEDULES, Recipe
from mmlite.metamask.mask import shuffled
from mmlite.support import checks
from mmlite.support.devices import device
from mmlite.support.errors import first_line
from mmlite.training import Checkpointing, History
from mmlite.training.checkpoints import CheckpointError, exists, load_checkpoint

CHECKPOINT, LOG = "last.pt", "log.jsonl"
PREFIX = "recipe."  # of a recipe's fields in a checkpoint's description


@dataclass(frozen=True)
class Accuracies:
    """Test accuracies 0..1 of a representation by reader and reading.

    Attributes:
        rows: by reading ("whole", "masked", "permuted mask"), then by reader: "kNN", and for the
            whole "linear probe".
    """

    rows: dict[str, dict[str, float]]

    def table(self) -> str:
        """Return the accuracies as lines of text."""
        readers = list(next(iter(self.rows.values())))
        lines = [f"{'':16}" + "".join(f"{reader:>14}" for reader in readers)]
        for reading, row in self.rows.items():
            cells = [f"{row[reader]:.3f}" if reader in row else "" for reader in readers]
            lines.append(f"{reading:16}" + "".join(f"{cell:>14}" for cell in cells).rstrip())
        return "\n".join(lines)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        parts: what was trained.
        history: the losses.
        accuracies: what the representation is worth; None in processes but the first.
        folder: where the checkpoint and the log are, or None.
    """

    parts: Parts
    history: History
    accuracies: Accuracies | None
    folder: Path | None

    def table(self) -> str:
        """Return the accuracies as lines of text; in processes but the first, nothing."""
        return "" if self.accuracies is None else self.accuracies.table()


def train(
    recipe: Recipe,
    method: str,
    out: str | Path | None = None,
    *,
    schedule: str = "paper",
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    download: bool = False,
    checkpoint_every: int | None = None,
    sync_batch_norm: bool = True,
    compile: bool = False,
) -> Run:
    """Train a recipe into a folder and evaluate it.

    Started by torchrun, the processes share each batch; the first writes and evaluates.

    Args:
        recipe: of `mmlite.experiments.recipes`, perhaps with other numbers.
        method: as for `build`.
        out: the folder for the checkpoint and the log; without one nothing is written.
        schedule: as for `build`.
        seed: as for `build`; it also draws the order of the images and the views.
        resume: go on from the folder's checkpoint if there is one, else start.
        progress: as for `mmlite.fit`.
        download: let torchvision fetch a set that is not there.
        checkpoint_every: write the checkpoint after every k-th step too.
        sync_batch_norm: several processes normalize with the moments of the whole batch, as one
            would (`mmlite.distributed.batch_norm`), and not each with those of its share.
        compile: as for `mmlite.fit`.

    Raises:
        CheckpointError: the folder holds another run, one that goes on at this moment, or this
            one and `resume` is False; or it cannot be written.
        DataError: images are missing or damaged.
        ProcessError: another process has stopped, or does not answer.
        TrainingError: the loss is not finite.
        ValueError: an argument is out of its range.
    """
    check_recipe(recipe)
    method = checks.choice("method", method, METHODS)
    schedule, seed = checks.choice("schedule", schedule, SCHEDULES), checks.seed(seed)
    flags = {"resume": resume, "progress": progress, "download": download}
    flags |= {"sync_batch_norm": sync_batch_norm, "compile": compile}
    resume, progress, download, sync_batch_norm, compile = (
        checks.flag(name, value) for name, value in flags.items()
    )
    if checkpoint_every is not None:
        checkpoint_every = checks.whole("checkpoint_every", checkpoint_every, 1)
    folder = None if out is None else checks.path("out", out)
    where = device()
    with distributed.process_group(where):
        if folder is not None and exists(folder / CHECKPOINT) and not resume:
            raise CheckpointError(
                f"there is a run in {folder} already; resume goes on with it, another folder "
                "starts another one"
            )
        if download and distributed.world_size() > 1:
            raise ValueError(
                "several processes do not download; fetch the images first with one, in Python: "
                f"mmlite.load({recipe.data!r}, 'train', download=True)"
            )
        parts = build(recipe, method, schedule, seed, channels_of(recipe), where)
        if sync_batch_norm:
            convert_sync_batchnorm(parts.model)
        images = images_of(recipe, recipe.split, download).to(where)
        checkpoint = folder and Checkpointing(
            folder / CHECKPOINT,
            every=checkpoint_every,
            resume=resume,
            extra_state=parts.extra_state,
        )
        history, log = History(), None if folder is None else Log(folder / LOG)
        started = time.perf_counter()

        def on_epoch(epoch: int) -> None:
            line = {
                "epoch": epoch,
                "loss": history.epoch_loss[epoch - 1],
                "images_per_second": round(history.images_per_second, 1),
                "seconds": round(time.perf_counter() - started, 2),
            }
            if parts.mask is not None:
                mask = parts.mask.entries.detach()
                line |= {"mask_least": float(mask.min()), "mask_greatest": float(mask.max())}
            if log is not None and distributed.rank() == 0:
                log.write(line)

        fit_parts(
            parts,
            recipe,
            images,
            seed,
            on_epoch=on_epoch,
            progress=progress,
            history=history,
            checkpoint=checkpoint,
            description=describe(recipe, method, schedule, seed)
            | {"sync_batch_norm": sync_batch_norm},
            compile=compile,
        )
        first = distributed.rank() == 0
    return Run(parts, history, accuracies(recipe, parts, seed) if first else None, folder)


def evaluate(checkpoint: str | Path, tell: Callable[[str], None] = lambda line: None) -> Accuracies:
    """Return the accuracies of a checkpoint that `train` wrote, finished or not.

    Args:
        checkpoint: the file, or the folder that it is in.
        tell: called with a sentence if the file is not the newest, and with what it holds.

    Raises:
        CheckpointError: there is none, it is damaged, or it is of a run without a recipe.
        DataError: images are missing or damaged.
    """
    path = checks.path("checkpoint", checkpoint)
    checks.function("tell", tell, "a function of a line of text")
    found = load_checkpoint(path / CHECKPOINT if path.is_dir() else path)
    described = found.description
    try:
        recipe = Recipe(**{one.name: _described(one, described) for one in fields(Recipe)})
        method, schedule, seed = (described[name] for name in ("method", "schedule", "seed"))
    except KeyError as error:
        raise CheckpointError(
            f"{found.path} was not written by `mmlite train`, so there is no recipe in it to "
            "rebuild its network from"
        ) from error
    if found.note:
        tell(found.note)
    parts = build(recipe, method, schedule or "paper", seed, channels_of(recipe), device())
    try:
        parts.model.load_state_dict(found.state["parts"]["model"])
        if parts.trainer is not None:
            parts.trainer.load_state_dict(found.state["parts"]["trainer"])
        steps = found.state["step"]
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{found.path} holds other weights than its recipe's network has; was it written by "
            f"another version of mmlite? ({first_line(error)})"
        ) from error
    named = method if schedule is None else f"{method} ({schedule})"
    tell(f"{recipe.name}, {named}, seed {seed}, after {steps:,} steps")
    return accuracies(recipe, parts, seed)


def _described(one: Field, description: dict[str, Any]) -> Any:
    """Return a recipe's field as a checkpoint describes it.

    An older one than the field has its default.

    Raises:
        KeyError: there is neither.
    """
    name = f"{PREFIX}{one.name}"
    return description[name] if one.default is MISSING else description.get(name, one.default)


def accuracies(recipe: Recipe, parts: Parts, seed: int = 0) -> Accuracies:
    """Return the test accuracies of what was trained: whole and, with a mask, through it.

    A linear layer absorbs any mask, and the probe standardizes each dimension first: so a mask
    does nothing to the probe, which reads the whole alone. A mask whose entries are shuffled says
    what any mask of these values would do (the seed draws the shuffle).
    """
    check_recipe(recipe)
    checks.instance("parts", parts, Parts, "Parts, as build returns")
    seed = checks.seed(seed)
    where = next(parts.encoder.parameters()).device
    train_set, test_set = (images_of(recipe, split).to(where) for split in ("train", "test"))
    h, fresh = encode(parts.encoder, train_set), encode(parts.encoder, test_set)
    labels = train_set.labels, test_set.labels
    weights = {"whole": torch.ones(h.shape[1], device=h.device)}
    if parts.mask is not None:
        mask = parts.mask.entries.detach()
        weights |= {"masked": mask, "permuted mask": shuffled(mask, seed)}
    rows = {}
    for reading, weight in weights.items():
        labeled = h * weight, labels[0], fresh * weight, labels[1]
        rows[reading] = {"kNN": knn_accuracy(*labeled, k=min(20, len(h)))}
        if reading == "whole":
            rows[reading]["linear probe"] = linear_probe_accuracy(*labeled)
    return Accuracies(rows)


def describe(recipe: Recipe, method: str, schedule: str, seed: int) -> dict[str, Any]:
    """Return what tells this run from others, for its checkpoint."""
    check_recipe(recipe)
    own = {f"{PREFIX}{name}": value for name, value in asdict(recipe).items()}
    return own | {
        "method": method,
        "schedule": schedule if method == "metamask" else None,
        "seed": seed,
    }
