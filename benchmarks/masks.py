"""Lesson 03's figures over seeds: what leaving dimensions out does, and what of it is luck.

    uv run python benchmarks/masks.py [--seeds 5]

Trains SimCLR, Barlow Twins and both jointly before planted backgrounds of several strengths, with
several strengths of color jitter; reads each representation through random masks and through masks
that know the classes or the backgrounds of the training images. Prints means over seeds and the
paired differences that the lesson claims, with their 95 % Student-t interval and their least value;
writes benchmarks/results/masks.json. The seed decides the first weights, the order of the images,
the views and the masks.
"""

import argparse

import torch
from common import save, summarize
from redundancy import METHODS, train
from tqdm import tqdm

import mmlite
from mmlite import TwoViews, encode
from mmlite.confounders import class_r2, nuisance_r2
from mmlite.mask_study import chance_shares, mask_accuracy, random_mask_study, split_gain, top_mask

DEVICE = mmlite.device()
SETTINGS = ((0.25, 0.0), (0.25, 0.8), (0.5, 0.8))  # strength, jitter
ORACLES = (0.1, 0.2, 0.5, 0.8)
ORDERS = ("class", "no class", "nuisance", "only nuisance")
RANDOM = (0.2, 0.5, 0.8)
MASKS = 200


def read(model, train_set, test_set, seed: int) -> dict[str, float]:
    """Return every figure of one trained model; gains are over the whole representation."""
    seen, fresh = ((encode(model.encoder, s), s.labels) for s in (train_set, test_set))
    of_class = class_r2(*seen)
    of_nuisance = nuisance_r2(seen[0], train_set.nuisance)
    figures = {
        "class R²": float(of_class.mean()),
        "nuisance R²": float(of_nuisance.mean()),
        "texture R²": float(nuisance_r2(seen[0], train_set.nuisance[:, :27]).mean()),
        "tint R²": float(nuisance_r2(seen[0], train_set.nuisance[:, 27:]).mean()),
        "correlation of the two": float(torch.corrcoef(torch.stack([of_class, of_nuisance]))[0, 1]),
    }
    for share in RANDOM:
        study = random_mask_study(*seen, *fresh, share=share, masks=MASKS, seed=seed)
        chance = chance_shares(study, seed=seed)
        gain = split_gain(study, seed=seed)
        name = f"random {share}"
        figures["whole"] = study.whole
        figures |= {
            f"{name}: share above": study.share_above,
            f"{name}: mean gain": float(study.accuracy.mean()) - study.whole,
            f"{name}: chance share, 5 %": float(chance.quantile(0.05)),
            f"{name}: chance share, 95 %": float(chance.quantile(0.95)),
            f"{name}: p": float((chance >= study.share_above).double().mean()),
            f"{name}: best, seen": gain.seen,
            f"{name}: best, fresh": gain.fresh,
        }
    scores = {
        "class": of_class,
        "no class": -of_class,
        "nuisance": -of_nuisance,
        "only nuisance": of_nuisance,
    }
    for name, score in scores.items():
        masks = torch.stack([top_mask(score, share) for share in ORACLES])
        for share, accuracy in zip(ORACLES, mask_accuracy(*seen, *fresh, masks), strict=True):
            figures[f"{name} {share}: gain"] = float(accuracy) - study.whole
    return figures


def one_seed(seed: int, plain_train, plain_test) -> dict[str, float]:
    """Return every figure of one seed by its name."""
    figures = {"zero": 0.0}
    for strength, jitter in SETTINGS:
        planted = [
            mmlite.plant_background(s, strength).to(DEVICE) for s in (plain_train, plain_test)
        ]
        views = TwoViews(crop=(0.4, 1.0), jitter=jitter, gray=0.2 if jitter else 0.0)
        for name, losses in METHODS.items():
            model = train(planted[0], losses, seed, views=views)
            for figure, value in read(model, *planted, seed).items():
                figures[f"{name}, {strength}, {jitter}: {figure}"] = value
    return figures


def claims() -> dict[str, tuple[str, str]]:
    gains = ["random 0.2: best, fresh", "random 0.8: best, fresh", "random 0.8: mean gain"]
    gains += [f"{name} {share}: gain" for name in ORDERS for share in ORACLES]
    pairs = {}
    for strength, jitter in SETTINGS:
        for name in METHODS:
            for gain in gains:
                key = f"{name}, {strength}, {jitter}: {gain}"
                pairs[key] = (key, "zero")
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    sets = mmlite.load("fashion", "train", size=5000), mmlite.load("fashion", "test")
    rows = [one_seed(seed, *sets) for seed in tqdm(seeds, unit="seed")]
    save(
        "masks",
        f"uv run python benchmarks/masks.py --seeds {len(rows)}",
        {"seeds": list(seeds), **summarize(rows, claims()), "rows": rows},
    )


if __name__ == "__main__":
    main()
