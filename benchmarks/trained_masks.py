"""Does a mask that trains with its encoder help if nothing absorbs it, or if pairs judge it?

    uv run python benchmarks/trained_masks.py [--jobs 2]

Two explanations of what the trial finds, each tried. *Absorbed:* the head behind the mask can
divide it out again, and AdamW divides a constant factor out of every gradient; so here the mask is
trained without a head, and with SGD. *Judged blindly:* the loss after the virtual step is taken on
views that share their background, by which a background is as good a feature as a garment; so here
it is taken on pairs of one garment before two backgrounds. Beside each stands the joint loss with
the same change and no mask; for the pairs, the joint loss trained on them.

The trial's recipe and the settings that its tuning chose for MetaMask, seeds 0 to 4 and validation
images, as `explore.py`, whose worlds these are: this is for looking around, and no more than that.
SGD has two learning rates, and both are told. Every reading of every seed is in
benchmarks/results/trained_masks.json.
"""

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context

import torch
from common import save
from explore import EXPLORED, TRIAL, WEIGHED, images, read, recipe_of, reweighted
from torch import Generator, Tensor, nn
from tqdm import tqdm

import mmlite
from mmlite.data import ImageSet
from mmlite.experiments.parts import Parts, build, fit_parts, views_of
from mmlite.experiments.recipes import Recipe
from mmlite.experiments.study.protocol_file import read_protocol
from mmlite.metamask import MetaMask
from mmlite.metamask.mask import Views, shuffled
from mmlite.statistics import paired_difference

SGD_RATES = (0.03, 0.1)
MOMENTUM = 0.9
FAST = 0.2  # the greatest of the rates that the trial tuned over: a mask that moves far
VIEWED, JUDGED, TRAINED = "views", "pairs judge", "pairs train"


@dataclass(frozen=True)
class Arm:
    """What is trained: a mask or none, a head or none, by which optimizer, and who sees pairs."""

    mask: bool
    head: bool = True
    sgd: float | None = None
    sees: str = VIEWED
    mask_rate: float | None = None

    def __str__(self) -> str:
        parts = ["MetaMask" if self.mask else "joint", "" if self.head else "no head"]
        parts += [f"SGD {self.sgd}" if self.sgd else "", "" if self.sees == VIEWED else self.sees]
        parts += [f"mask's rate {self.mask_rate}" if self.mask_rate else ""]
        return ", ".join(part for part in parts if part)


WAYS = ((True, None), (False, None), *((True, rate) for rate in SGD_RATES))
ABSORBING = [Arm(mask, head, sgd) for (head, sgd), mask in product(WAYS, (False, True))]
JUDGING = [
    *(Arm(False), Arm(True), Arm(False, sees=TRAINED)),
    *(Arm(True, sees=JUDGED), Arm(True, sees=JUDGED, mask_rate=FAST), Arm(True, sees=TRAINED)),
]
ARMS = {"competent": ABSORBING, "confounded": [*ABSORBING, *JUDGING[2:]], "shifted": JUDGING}


def two_backgrounds(sets: Mapping[str, ImageSet]) -> ImageSet:
    """Return training images before both of their backgrounds, [N, 6, H, W]."""
    both = torch.cat([sets["train"].images, sets["other"].images], 1)
    return replace(sets["train"], images=both, nuisance=None)


def of_first(views: Callable[..., Views], images: Tensor, generator: Generator) -> Views:
    """Return two views before the first background."""
    return views(images[:, :3], generator)


def of_both(views: Callable[..., Views], images: Tensor, generator: Generator) -> Views:
    """Return two views of a garment, each before a background of its own."""
    first, second = images.chunk(2, 1)
    return views(first, generator)[0], views(second, generator)[1]


def parts_of(arm: Arm, recipe: Recipe, seed: int) -> Parts:
    """Return what an arm trains on images before both backgrounds."""
    if arm.mask_rate is not None:
        recipe = recipe.replace(mask_learning_rate=arm.mask_rate)
    parts = build(recipe, "metamask", seed=seed)
    trainer = parts.trainer
    assert isinstance(trainer, MetaMask)
    inner, outer = (
        partial(of_both if sees else of_first, views_of(recipe))
        for sees in (arm.sees == TRAINED, arm.sees != VIEWED)
    )
    none = {name: nn.Identity() for name in ("contrastive_head", "redundancy_head")}
    changed = {} if arm.head else none
    trainer = replace(trainer, views=inner, outer_views=outer, **changed)
    return Parts(parts.encoder, trainer.model, trainer.loss, trainer if arm.mask else None)


def run(world: str, arm: Arm, seed: int) -> dict[str, object]:
    """Return every reading of one arm's encoder."""
    torch.set_num_threads(1)
    protocol = read_protocol(TRIAL / "protocol.toml")
    _, recipe = recipe_of(protocol, world, "metamask")
    sets = images(seed, world)
    parts = parts_of(arm, recipe, seed)
    if arm.sgd is None:
        fit_parts(parts, recipe, two_backgrounds(sets), seed, progress=False)
    else:
        mmlite.fit(
            *(parts.model, parts.loss, two_backgrounds(sets)),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            warmup=recipe.warmup,
            seed=seed,
            optimizer=partial(
                torch.optim.SGD, lr=arm.sgd, momentum=MOMENTUM, weight_decay=recipe.weight_decay
            ),
            progress=False,
            **parts.hooks,
        )
    h, asked = (mmlite.encode(parts.encoder, sets[name]) for name in ("train", "asked"))
    labels, answers = sets["train"].labels, sets["asked"].labels
    changes: dict[str, Callable[[Tensor], Tensor]] = {"whole": lambda h: h}
    changes["whitened"] = mmlite.fit_whitening(h)
    if parts.mask is not None:
        entries = parts.mask.entries.detach()
        other = shuffled(entries, seed)
        changes |= {"masked": lambda h: h * entries, "shuffled": lambda h: h * other}
    readings = {
        name: read(change(h), labels, change(asked), answers, seed, few=())
        for name, change in changes.items()
    }
    if world == "shifted":
        readings[WEIGHED] = {"probe": reweighted(h, sets["train"], asked, answers)}
    return {"world": world, "arm": str(arm), "seed": seed, "readings": readings}


def column(lines: list[dict], world: str, arm: str, reading: str, reader: str) -> list[float]:
    """Return one reading of an arm, a number a seed."""
    found = [line for line in lines if (line["world"], line["arm"]) == (world, arm)]
    return [line["readings"][reading][reader] for line in found]


def tell(lines: list[dict]) -> None:
    """Print each arm's accuracies, and what its mask gains over the joint loss and its shuffle."""
    for world, reader in product(ARMS, ("kNN", "probe")):
        print(f"\n{world}, {reader}, %: whole, whitened, masked; points of masked − …")
        for arm in ARMS[world]:
            of = partial(column, lines, world, reader=reader)
            readings = ("whole", "whitened", *(["masked"] if arm.mask else []))
            means = [100 * sum(of(str(arm), one)) / len(EXPLORED) for one in readings]
            text = "  ".join(f"{mean:4.1f}" for mean in means)
            if arm.mask:
                sees = TRAINED if arm.sees != VIEWED else VIEWED
                joint = replace(arm, mask=False, sees=sees, mask_rate=None)
                others = {"joint": of(str(joint), "whole"), "shuffled": of(str(arm), "shuffled")}
                for name, other in others.items():
                    found = paired_difference(of(str(arm), "masked"), other)
                    mean, low, high = (100 * one for one in found)
                    text += f"  {name} {mean:+.1f} ({low:+.1f} to {high:+.1f})"
            print(f"  {arm!s:34} {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tasks = [(world, arm, seed) for world in ARMS for arm in ARMS[world] for seed in EXPLORED]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        lines = list(tqdm(pool.map(run, *zip(*tasks, strict=True)), total=len(tasks), unit="run"))
    tell(lines)
    save("trained_masks", "uv run python benchmarks/trained_masks.py", lines)


if __name__ == "__main__":
    main()
