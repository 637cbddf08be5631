"""One run of a study: its images, its training, its line of the results."""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

import mmlite
from mmlite.data import ImageSet, load, plant_background
from mmlite.experiments.parts import build, channels_of, fit_parts, views_of
from mmlite.experiments.recipes import Recipe
from mmlite.experiments.study.cells import MAIN, Cell
from mmlite.experiments.study.protocol import Arm, Protocol, World
from mmlite.experiments.study.readings import CollapseError, read, read_for_tuning
from mmlite.metamask.mask import shuffled
from mmlite.support.devices import device, machine
from mmlite.support.errors import first_line
from mmlite.training import TrainingError


def run_cell(
    protocol: Protocol, cell: Cell, logits: Sequence[float] | None = None
) -> dict[str, Any]:
    """Train and read one cell and return its line of the results.

    A training that fails, by a loss that is not finite or by collapse, gives a line that says so:
    `failed`.

    Args:
        protocol: the study's.
        cell: of it.
        logits: of the learned mask, [D], that an arm with a shuffled mask needs.

    Raises:
        DataError: images are missing or damaged.
        ValueError: the data set has too few images.
    """
    world, arm = protocol.worlds[cell.world], protocol.arms[cell.arm]
    recipe = protocol.recipe_of(cell.world, cell.arm, cell.configuration)
    line: dict[str, Any] = {
        "protocol": protocol.checksum,
        **vars(cell),
        "settings": protocol.settings_of(cell.arm, cell.configuration),
    }
    started = trained = time.perf_counter()
    train_set, test_set = images_of(recipe, cell, protocol.validation)
    try:
        encoder, w = train_arm(arm, recipe, world, train_set, cell.seed, logits)
        trained = time.perf_counter()
        reads = read if cell.stage == MAIN else read_for_tuning
        line |= reads(encoder, None if w is None else w.sigmoid(), train_set, test_set, cell.seed)
    except (TrainingError, CollapseError) as error:
        return line | {"failed": first_line(error)} | _where(started, trained)
    if w is not None and cell.arm in {one.shuffled_mask_of for one in protocol.arms.values()}:
        line["logits"] = [round(float(one), 4) for one in w]
    return line | _where(started, trained)


def images_of(recipe: Recipe, cell: Cell, validation: int) -> tuple[ImageSet, ImageSet]:
    """Return a cell's training images and those that it is read on.

    The seed draws the training images and the backgrounds. A cell of tuning is read on images of
    the training split that it was not trained on.

    Raises:
        ValueError: the training split has fewer images than these two sets need.
    """
    whole, test = (_planted(recipe, split, cell.seed) for split in (recipe.split, "test"))
    size = len(whole) if recipe.images is None else recipe.images
    needed = size + (0 if cell.stage == MAIN else validation)
    if needed > len(whole):
        raise ValueError(
            f"{recipe.data}/{recipe.split} has {len(whole)} images, and {size} for training and "
            f"{needed - size} for validation are {needed}"
        )
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(cell.seed))
    read_on = test if cell.stage == MAIN else whole[order[size:needed]]
    return whole[order[:size]].to(device()), read_on.to(device())


def train_arm(
    arm: Arm,
    recipe: Recipe,
    world: World,
    images: ImageSet,
    seed: int,
    logits: Sequence[float] | None = None,
) -> tuple[nn.Module, Tensor | None]:
    """Return an arm's encoder, trained, and the logits [D] of its mask if it has one.

    Raises:
        TrainingError: the loss is not finite.
    """
    outer = views_of(recipe.replace(**world.outer))
    if arm.trained_on == "outer":
        recipe = recipe.replace(**world.outer)
    parts = build(
        recipe,
        arm.method if arm.trains else "simclr",
        arm.schedule,
        seed,
        channels_of(recipe),
        device(),
        gradient=arm.gradient,
        outer_views=outer if arm.judged_on == "outer" else None,
    )
    if not arm.trains:
        return parts.encoder, None
    hooks: dict[str, Any] = {}
    if logits is not None:
        assert parts.mask is not None  # the protocol gives logits to a method with a mask alone
        with torch.no_grad():
            parts.mask.w.copy_(shuffled(torch.tensor(logits), seed))
        hooks = dict.fromkeys(parts.hooks)  # nothing moves it
    fit_parts(parts, recipe, images, seed, progress=False, **hooks)
    return parts.encoder, None if parts.mask is None else parts.mask.w.detach()


def _planted(recipe: Recipe, split: str, seed: int) -> ImageSet:
    images = load(recipe.data, split)
    return (
        images if recipe.background is None else plant_background(images, recipe.background, seed)
    )


def _where(started: float, trained: float) -> dict[str, Any]:
    """Return how long a run took, and with what."""
    ended = time.perf_counter()
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "seconds": {"training": round(trained - started, 1), "reading": round(ended - trained, 1)},
        "versions": {"mmlite": mmlite.__version__, "python": python},
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
