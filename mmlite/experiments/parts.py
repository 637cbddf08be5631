"""What a recipe's method trains: its images, views, networks, loss and hooks."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmlite.contrastive import nt_xent
from mmlite.data import ImageSet, load, plant_background
from mmlite.encoders import projector, resnet18, small_conv
from mmlite.experiments.recipes import METHODS, SCHEDULES, Recipe
from mmlite.metamask import DimensionalMask, LookaheadMetaMask, MaskTrainer, MetaMask
from mmlite.metamask.gradient import GRADIENT_METHODS
from mmlite.redundancy import barlow_twins
from mmlite.support import checks
from mmlite.training import History, Loss, fit
from mmlite.views import TwoViews


@dataclass
class Parts:
    """What a method trains, on one device.

    Attributes:
        encoder: from [N, C, H, W] to h [N, D].
        model: what `fit` trains.
        loss: for `fit`.
        trainer: what moves the mask in training, or None if the method learns none.
    """

    encoder: nn.Module
    model: nn.Module
    loss: Loss
    trainer: MaskTrainer | None = None

    @property
    def mask(self) -> DimensionalMask | None:
        """The mask that the method learned so far, or None if it learns none."""
        return None if self.trainer is None else self.trainer.mask

    @property
    def hooks(self) -> dict[str, Any]:
        """The hooks that `fit` has to be given."""
        if self.trainer is None:
            return {}
        return {"before_step": self.trainer.before_step, "after_step": self.trainer.after_step}

    @property
    def extra_state(self) -> dict[str, MaskTrainer]:
        """What a checkpoint has to hold beside the model."""
        return {} if self.trainer is None else {"trainer": self.trainer}


def build(
    recipe: Recipe,
    method: str,
    schedule: str = "paper",
    seed: int = 0,
    channels: int = 3,
    where: torch.device | str = "cpu",
    *,
    gradient: str = "exact",
    outer_views: TwoViews | None = None,
) -> Parts:
    """Return the networks, loss and hooks of a method; the seed draws the first weights.

    Args:
        recipe: of `mmlite.experiments.recipes`.
        method: "simclr", "barlow-twins", "joint" or "metamask".
        schedule: of "metamask": "paper" or "lookahead".
        seed: of the first weights.
        channels: C, the images' channels.
        where: the device.
        gradient: of "metamask" with schedule "paper": how `meta_gradient` is computed.
        outer_views: likewise: the views by which the mask is judged, by default those of training.

    Raises:
        ValueError: an unknown method, schedule or gradient.
    """
    check_recipe(recipe)
    method = checks.choice("method", method, METHODS)
    schedule = checks.choice("schedule", schedule, SCHEDULES)
    gradient = checks.choice("gradient", gradient, GRADIENT_METHODS)
    if outer_views is not None:
        checks.function("outer_views", outer_views, "views, for instance a TwoViews")
    channels, where = checks.whole("channels", channels, 1), checks.device("where", where)
    torch.manual_seed(checks.seed(seed))
    encoder = {"small_conv": small_conv, "resnet18": resnet18}[recipe.encoder](channels, recipe.dim)
    heads = [
        projector(recipe.dim, recipe.hidden, recipe.projection).to(where)
        for _ in range(1 if method in ("simclr", "barlow-twins") else 2)
    ]
    encoder.to(where)
    views = views_of(recipe)

    def contrastive(z1: Tensor, z2: Tensor) -> Tensor:
        return nt_xent(z1, z2, recipe.temperature)

    def redundancy(z1: Tensor, z2: Tensor) -> Tensor:
        return barlow_twins(z1, z2, recipe.off_diagonal)

    if len(heads) == 1:
        of_views = contrastive if method == "simclr" else redundancy

        def loss(model: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
            return of_views(*model(torch.cat(views(images, generator))).chunk(2))

        return Parts(encoder, nn.Sequential(encoder, heads[0]), loss)
    mask = DimensionalMask(recipe.dim).to(where)
    optimizer = torch.optim.Adam(mask.parameters(), recipe.mask_learning_rate)
    shared: dict[str, Any] = {
        "redundancy_weight": recipe.redundancy_weight,
        "contrastive_loss": contrastive,
        "redundancy_loss": redundancy,
    }
    if method == "metamask" and schedule == "lookahead":
        kind: type[MaskTrainer] = LookaheadMetaMask
    else:
        kind = MetaMask
        shared |= {"virtual_lr": recipe.virtual_lr, "method": gradient, "outer_views": outer_views}
    trainer = kind(encoder, heads[0], heads[1], mask, optimizer, views, **shared)
    if method == "joint":  # its mask stays at 1/2 everywhere
        return Parts(encoder, trainer.model, trainer.loss)
    return Parts(encoder, trainer.model, trainer.loss, trainer)


def fit_parts(
    parts: Parts, recipe: Recipe, images: ImageSet, seed: int = 0, **options: Any
) -> History:
    """Train what `build` returned with a recipe's numbers.

    Args:
        parts: of `build`.
        recipe: likewise.
        images: the training images.
        seed: of the order and of the views.
        options: of `mmlite.fit` besides; also hooks in place of the parts' own.

    Raises:
        CheckpointError, ProcessError, TrainingError, ValueError: as `mmlite.fit`.
    """
    check_recipe(recipe)
    checks.instance("parts", parts, Parts, "Parts, as build returns")
    return fit(
        parts.model,
        parts.loss,
        images,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup=recipe.warmup,
        seed=seed,
        precision=recipe.precision,
        **(parts.hooks | options),
    )


def views_of(recipe: Recipe) -> TwoViews:
    """Return the views that a recipe trains on."""
    check_recipe(recipe)
    return TwoViews(crop=(recipe.crop, 1.0), jitter=recipe.jitter, gray=recipe.gray)


def check_recipe(recipe: Recipe) -> None:
    """Raise a ValueError unless it is a `Recipe`."""
    checks.instance("recipe", recipe, Recipe, "a Recipe, for instance RECIPES['cifar10']")


def images_of(recipe: Recipe, split: str, download: bool = False) -> ImageSet:
    """Return a recipe's images on the CPU, before their backgrounds if it plants them.

    Raises:
        DataError: they are missing or damaged.
    """
    check_recipe(recipe)
    size = recipe.images if split == recipe.split else None
    images = load(recipe.data, split, size=size, download=download)
    return images if recipe.background is None else plant_background(images, recipe.background)


def channels_of(recipe: Recipe) -> int:
    """Return C: fashion is gray unless it stands before a background."""
    check_recipe(recipe)
    return 1 if recipe.data.startswith("fashion") and recipe.background is None else 3
