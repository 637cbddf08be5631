"""Where could a mask help? Frozen encoders read through masks, and what a mask is up against.

    uv run python benchmarks/explore.py [--jobs 2]
    uv run python benchmarks/explore.py --confirm [--jobs 2]

The trial's joint loss, with the settings that its tuning chose, trains an encoder for each seed and
world. With the encoder frozen, a mask is learned on pairs that share their garment and not their
background (no label, no head, NT-Xent of the masked features), in three bases: the axes, the
eigenvectors of the covariance within pairs, and the same after whitening. Beside each stand the
closed form, the correlation of a coordinate within pairs, and what needs no mask: whitening by all
features, and by the differences within pairs. Readers: kNN, and a probe on 1, 2, 5 and 10 labels a
class. And once more where the background goes with the class in nine of ten training images, and
with nothing when it is read: there a probe on all labels, and one with the tenth weighed up.

Seeds 0 to 4 and validation images are for looking around: benchmarks/results/explore.json has every
reading of every seed. Three candidates came of it, each with the strongest simple baseline beside
it. `--confirm` tries them on seeds 2000 to 2019, which nothing had been read on before they were
chosen, and on the test images: paired two-sided t-tests, after Holm's correction for three; and
writes benchmarks/results/confirm.json.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from common import save
from scipy.stats import ttest_rel
from torch import Tensor

import mmlite
from mmlite.data import ImageSet
from mmlite.evaluation import few_label_accuracy, knn_accuracy, linear_probe_accuracy
from mmlite.experiments.recipes import Recipe
from mmlite.experiments.study.arms import train_arm
from mmlite.experiments.study.lines import read_results
from mmlite.experiments.study.protocol import Protocol
from mmlite.experiments.study.protocol_file import read_protocol
from mmlite.experiments.study.readings import at_one_scale
from mmlite.statistics import holm, paired_difference

TRIAL = Path(__file__).with_name("trial")
WORLDS = ("competent", "confounded", "shifted")
STRENGTH, MATCHING, VALIDATION = 0.25, 0.9, 2000
STEPS, BATCH, LEARNING_RATE, TEMPERATURE = 400, 512, 0.05, 0.2
LABELS = (1, 2, 5, 10)
EXPLORED, CONFIRMED = range(5), range(2000, 2020)
IN_PAIRS, WEIGHED = "whitened within pairs", "whole, odd images weighed up"
BEST_BASIS = "whitened, eigenvectors within pairs"
# world, reader, what is claimed to be above, and the strongest simple baseline over seeds 0 to 4
CANDIDATES = (
    ("shifted", "probe", f"{BEST_BASIS}, learned mask", WEIGHED),
    ("confounded", "kNN", f"{BEST_BASIS}, closed mask", IN_PAIRS),
    ("confounded", "1 a class", f"{BEST_BASIS}, learned mask", IN_PAIRS),
)
Change = Callable[[Tensor], Tensor]


def images(seed: int, world: str) -> dict[str, ImageSet]:
    """Return a seed's images: to train on, the same before other backgrounds, and to be read on."""
    garments = mmlite.load("fashion", "train")
    order = torch.randperm(len(garments), generator=torch.Generator().manual_seed(seed))
    known, asked = garments[order[:5000]], garments[order[5000 : 5000 + VALIDATION]]
    if seed in CONFIRMED:
        asked = mmlite.load("fashion", "test")
    if world == "shifted":
        return {
            "train": matched(known, seed, MATCHING),
            "other": matched(known, seed, 0.0, draw=1),
            "asked": matched(asked, seed, 0.0, draw=2),
        }
    plant = partial(mmlite.plant_background, strength=STRENGTH)
    return {
        "train": plant(known, seed=seed),
        "other": plant(known, seed=seed + 1_000_000),
        "asked": plant(replace(asked, name="asked"), seed=seed),
    }


def matched(garments: ImageSet, seed: int, share: float, draw: int = 0) -> ImageSet:
    """Return garments before one of ten textures: their class's in a share of them, else any.

    The seed draws the textures; seed and draw which image gets which. `nuisance` holds 1 where the
    texture is the class's.
    """
    black = ImageSet(torch.zeros_like(garments.images[:10]), garments.labels[:10], garments.classes)
    textures = mmlite.plant_background(black, 2 * STRENGTH, seed=seed).images
    generator = torch.Generator().manual_seed(1000 * seed + draw)
    any_one = torch.randint(0, 10, (len(garments),), generator=generator)
    own = torch.rand(len(garments), generator=generator) < share
    which = torch.where(own, garments.labels, any_one)
    garment = garments.images.float() / 255
    mixed = 255 * garment + (1 - garment) * textures[which].float()
    return replace(
        garments,
        images=mixed.round().to(torch.uint8),
        nuisance=(which == garments.labels).float()[:, None],
    )


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of each coordinate with itself in the other image of a pair, [D]."""
    a, b = a - a.mean(0), b - b.mean(0)
    spread = (a.square().mean(0) * b.square().mean(0)).sqrt()
    return torch.where(spread > 0, (a * b).mean(0) / spread.clamp(min=1e-30), 0)


def learned(a: Tensor, b: Tensor, seed: int) -> Tensor:
    """Return a mask's entries [D], learned on pairs by NT-Xent of the masked features alone."""
    mask = mmlite.DimensionalMask(a.shape[1])
    optimizer = torch.optim.Adam(mask.parameters(), LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        batch = torch.randperm(len(a), generator=generator)[:BATCH]
        loss = mmlite.nt_xent(mask(a[batch]), mask(b[batch]), TEMPERATURE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return mask.entries.detach()


def within(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return variances [D] and directions [D, D] of the differences within pairs."""
    difference = (a - b).double()
    values, directions = torch.linalg.eigh(difference.T @ difference / (2 * len(a)))
    return values.clamp(min=0).to(a.dtype), directions.to(a.dtype)


def changes(h: Tensor, other: Tensor, seed: int) -> dict[str, Change]:
    """Return what is done to features, fitted to pairs of training images h, other [N, D]."""
    mean = h.mean(0)
    white = mmlite.fit_whitening(h)
    values, directions = within(h, other)
    shrunk = 0.99 * values + 0.01 * values.mean()
    turned = partial(turn, mean=mean, matrix=directions)
    bases: dict[str, Change] = {
        "axes": lambda x: x,
        "eigenvectors within pairs": turned,
    }
    found: dict[str, Change] = {
        "whole": lambda x: x,
        "whitened": white,
        IN_PAIRS: lambda x: turned(x) * shrunk.rsqrt(),
    }
    for name, basis in bases.items():
        pair = basis(h), basis(other)
        masks = {"closed": correlation(*pair).clamp(min=0), "learned": learned(*pair, seed)}
        for kind, entries in masks.items():
            found[f"{name}, {kind} mask"] = partial(through, basis=basis, entries=entries)
    found[f"{BEST_BASIS}, closed mask"] = mmlite.fit_pair_mask(h, other)
    found[f"{BEST_BASIS}, learned mask"] = mmlite.learn_pair_mask(h, other, seed=seed)
    return found


def turn(x: Tensor, mean: Tensor, matrix: Tensor) -> Tensor:
    return (x - mean) @ matrix


def through(x: Tensor, basis: Change, entries: Tensor) -> Tensor:
    return basis(x) * entries


def read(
    known: Tensor, labels: Tensor, asked: Tensor, answers: Tensor, seed: int, few: Sequence[int]
) -> dict[str, float]:
    """Return the accuracies of kNN, of a probe, and of probes on a few labels a class."""
    found = {"kNN": knn_accuracy(known, labels, asked, answers)}
    known, asked = at_one_scale(known, asked)
    scaled = known, labels, asked, answers
    found["probe"] = linear_probe_accuracy(*scaled, standardize=False)
    for count in few:
        found[f"{count} a class"] = few_label_accuracy(
            *scaled, per_class=count, seed=seed, standardize=False
        )
    return found


def reweighted(h: Tensor, train: ImageSet, asked_h: Tensor, answers: Tensor) -> float:
    """Return the accuracy of a probe that has each odd image as often as all the others together.

    What one would do who knows which training images have a texture that is not their class's.
    """
    odd = (train.nuisance[:, 0] == 0).nonzero()[:, 0]
    rest = len(h) - len(odd)
    repeated = torch.cat([torch.arange(len(h)), odd.repeat(max(1, round(rest / len(odd)) - 1))])
    h, asked_h = at_one_scale(h, asked_h)
    return linear_probe_accuracy(
        h[repeated], train.labels[repeated], asked_h, answers, standardize=False
    )


def recipe_of(protocol: Protocol, world: str, arm: str) -> tuple[str, Recipe]:
    """Return the trial's world that one of these goes by, and there an arm's recipe as tuned."""
    of_trial = "competent" if world == "shifted" else world
    chosen = read_results(TRIAL, protocol).chosen(arm)
    return of_trial, protocol.recipe_of(of_trial, arm, chosen)


def explore(world: str, seed: int) -> dict[str, object]:
    """Return every reading of one encoder."""
    torch.set_num_threads(1)
    protocol = read_protocol(TRIAL / "protocol.toml")
    of_trial, recipe = recipe_of(protocol, world, "joint")
    sets = images(seed, world)
    arm = protocol.arms["joint"]
    encoder, _ = train_arm(arm, recipe, protocol.worlds[of_trial], sets["train"], seed)
    h, other, asked = (mmlite.encode(encoder, sets[name]) for name in ("train", "other", "asked"))
    labels, answers = sets["train"].labels, sets["asked"].labels
    few = LABELS[:1] if seed in CONFIRMED else LABELS
    readings = {
        name: read(change(h), labels, change(asked), answers, seed, few)
        for name, change in changes(h, other, seed).items()
    }
    if world == "shifted":
        readings[WEIGHED] = {"probe": reweighted(h, sets["train"], asked, answers)}
    return {"world": world, "seed": seed, "readings": readings}


def told(lines: list[dict], reader: str) -> Mapping[str, str]:
    """Return each change's gain over the whole representation, in points, with its interval."""
    plain = [line["readings"]["whole"][reader] for line in lines]
    gains = {}
    for name in lines[0]["readings"]:
        if name != "whole" and reader in lines[0]["readings"][name]:
            changed = [line["readings"][name][reader] for line in lines]
            mean, low, high = (100 * one for one in paired_difference(changed, plain))
            gains[name] = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
    return gains


def confirm(lines: list[dict]) -> dict[str, object]:
    """Return each candidate's difference from its baseline: points, interval, p after Holm."""
    found = {}
    for world, reader, claimed, baseline in CANDIDATES:
        a, b = (
            [line["readings"][name][reader] for line in lines if line["world"] == world]
            for name in (claimed, baseline)
        )
        mean, low, high = (100 * one for one in paired_difference(a, b))
        found[f"{world}, {reader}: {claimed} − {baseline}"] = {
            "points": round(mean, 2),
            "interval": [round(low, 2), round(high, 2)],
            "p": float(ttest_rel(a, b).pvalue),
        }
    for one, p in zip(found.values(), holm([one["p"] for one in found.values()]), strict=True):
        one["p after Holm"] = p
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--confirm", action="store_true", help="the candidates, on fresh seeds")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    worlds = sorted({one[0] for one in CANDIDATES}) if options.confirm else WORLDS
    tasks = list(product(worlds, CONFIRMED if options.confirm else EXPLORED))
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        lines = list(pool.map(explore, *zip(*tasks, strict=True)))
    if options.confirm:
        found = confirm(lines)
        print(json.dumps(found, indent=1, ensure_ascii=False))
        command = "uv run python benchmarks/explore.py --confirm"
        save("confirm", command, {"candidates": found, "lines": lines})
        return
    for world in worlds:
        of_world = [line for line in lines if line["world"] == world]
        for reader in of_world[0]["readings"]["whitened"]:
            plain = sum(line["readings"]["whole"][reader] for line in of_world) / len(of_world)
            print(f"\n{world}, {reader}: whole {100 * plain:.1f}; points gained")
            for name, gain in told(of_world, reader).items():
                print(f"  {name:50} {gain}")
    save("explore", "uv run python benchmarks/explore.py", lines)


if __name__ == "__main__":
    main()
