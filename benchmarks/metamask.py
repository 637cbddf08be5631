"""Lesson 04's figures over seeds: what a meta-learned mask does to a confounded representation.

    uv run python benchmarks/metamask.py [--seeds 5]

Trains the joint objective without a mask, with the paper's mask (exact and first-order), with the
lookahead schedule, and with a meta objective that looks at views whose colors change, all before
planted backgrounds and with views that leave colors alone. Reads each representation whole,
through its mask, through the mask with its entries shuffled, and through the half of the dimensions
with the largest entries, by kNN and by linear probes with and without standardizing; by kNN also
standardized, whitened, and whitened before the mask. Prints means over seeds and the paired
differences that the lesson claims, with their 95 % Student-t interval and their least value, and
p-values of the masks' gains after Holm's correction; writes benchmarks/results/metamask.json. The
seed decides the first weights, the order of the images, the views and the shuffle.
"""

import argparse

import torch
from common import save, summarize
from redundancy import OFF_DIAGONAL, REDUNDANCY_WEIGHT
from scipy import stats
from tqdm import tqdm

import mmlite
from mmlite import TwoViews, encode, fit, fit_whitening, holm, projector, small_conv
from mmlite.confounders import class_r2, nuisance_r2
from mmlite.evaluation import knn_accuracy, linear_probe_accuracy
from mmlite.mask_study import top_mask
from mmlite.metamask import DimensionalMask, LookaheadMetaMask, MetaMask
from mmlite.metamask.mask import shuffled
from mmlite.redundancy import barlow_twins

DEVICE = mmlite.device()
STRENGTH, EPOCHS, MASK_LR, VIRTUAL_LR = 0.25, 4, 0.05, 0.1
PLAIN = TwoViews(crop=(0.4, 1.0), jitter=0.0, gray=0.0)
COLORFUL = TwoViews(crop=(0.4, 1.0), jitter=0.8)
METHODS = {
    "joint": None,
    "paper": {"virtual_lr": VIRTUAL_LR},
    "first-order": {"virtual_lr": VIRTUAL_LR, "method": "first-order"},
    "outer views": {"virtual_lr": VIRTUAL_LR, "outer_views": COLORFUL},
    "lookahead": {},
}


def train(images, name: str, seed: int):
    """Return the encoder and its mask, one of `METHODS`."""
    torch.manual_seed(seed)
    encoder = small_conv(3, 128)
    heads = [projector(128, 256, 64) for _ in range(2)]
    mask = DimensionalMask(128)
    for part in (encoder, *heads, mask):
        part.to(DEVICE)
    kind = LookaheadMetaMask if name == "lookahead" else MetaMask
    method = kind(
        encoder,
        *heads,
        mask,
        torch.optim.Adam(mask.parameters(), MASK_LR),
        PLAIN,
        redundancy_weight=REDUNDANCY_WEIGHT,
        redundancy_loss=lambda z1, z2: barlow_twins(z1, z2, OFF_DIAGONAL),
        **(METHODS[name] or {}),
    )
    hooks = {} if METHODS[name] is None else {"after_step": method.after_step}
    if name == "lookahead":
        hooks["before_step"] = method.before_step
    fit(
        method.model,
        method.loss,
        images,
        epochs=EPOCHS,
        batch_size=128,
        seed=seed,
        progress=False,
        **hooks,
    )
    return encoder, mask.entries.detach()


def correlation(a, b) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def read(encoder, mask, train_set, test_set, seed: int) -> dict[str, float]:
    """Return every figure of one trained encoder and its mask."""
    h, fresh = encode(encoder, train_set), encode(encoder, test_set)
    weights = {
        "whole": torch.ones_like(mask),
        "masked": mask,
        "permuted": shuffled(mask, seed),
        "upper half": top_mask(mask, 0.5).to(mask.dtype),
    }
    figures = {}
    for reading, weight in weights.items():
        labeled = (h * weight, train_set.labels, fresh * weight, test_set.labels)
        figures[f"kNN {reading}"] = knn_accuracy(*labeled)
        if reading != "upper half":
            figures[f"raw probe {reading}"] = linear_probe_accuracy(*labeled, standardize=False)
        if reading in ("whole", "masked"):
            figures[f"probe {reading}"] = linear_probe_accuracy(*labeled)
    white, mean, deviation = fit_whitening(h), h.mean(0), h.std(0)
    changed = {
        "standardized": lambda h: (h - mean) / deviation,
        "whitened": white,
        "whitened, masked": lambda h: white(h) * mask,
        "whitened, permuted": lambda h: white(h) * weights["permuted"],
    }
    for reading, change in changed.items():
        labeled = (change(h), train_set.labels, change(fresh), test_set.labels)
        figures[f"kNN {reading}"] = knn_accuracy(*labeled)
    of_class = class_r2(h, train_set.labels)
    of_nuisance = nuisance_r2(h, train_set.nuisance)
    figures |= {"mask least": float(mask.min()), "mask greatest": float(mask.max())}
    figures |= {
        "class R²": float(of_class.mean()),
        "nuisance R²": float(of_nuisance.mean()),
    }
    if float(mask.std()) > 0:
        figures |= {
            "mask and class": correlation(mask, of_class),
            "mask and nuisance": correlation(mask, of_nuisance),
            "mask and deviation": correlation(mask, h.std(0)),
        }
    return figures


def one_seed(seed: int, train_set, test_set) -> dict[str, float]:
    """Return every figure of one seed by its name."""
    figures = {"zero": 0.0}
    for name in METHODS:
        encoder, mask = train(train_set, name, seed)
        for figure, value in read(encoder, mask, train_set, test_set, seed).items():
            figures[f"{name}: {figure}"] = value
    return figures


def claims() -> dict[str, tuple[str, str]]:
    pairs = {}
    for name in METHODS:
        for reading in ("standardized", "whitened"):
            pairs[f"{name}: kNN {reading} less whole"] = (
                f"{name}: kNN {reading}",
                f"{name}: kNN whole",
            )
        if METHODS[name] is None:
            continue
        for less in ("whitened", "whitened, permuted"):
            pairs[f"{name}: kNN whitened, masked less {less}"] = (
                f"{name}: kNN whitened, masked",
                f"{name}: kNN {less}",
            )
        pairs[f"{name}: kNN masked less standardized"] = (
            f"{name}: kNN masked",
            f"{name}: kNN standardized",
        )
        pairs[f"{name}: kNN whitened less joint whitened"] = (
            f"{name}: kNN whitened",
            "joint: kNN whitened",
        )
        for reading in ("masked", "permuted", "upper half"):
            pairs[f"{name}: kNN {reading} less whole"] = (
                f"{name}: kNN {reading}",
                f"{name}: kNN whole",
            )
        pairs[f"{name}: kNN masked less permuted"] = (
            f"{name}: kNN masked",
            f"{name}: kNN permuted",
        )
        for probe in ("probe", "raw probe"):
            pairs[f"{name}: {probe} masked less whole"] = (
                f"{name}: {probe} masked",
                f"{name}: {probe} whole",
            )
        pairs[f"{name}: raw probe masked less permuted"] = (
            f"{name}: raw probe masked",
            f"{name}: raw probe permuted",
        )
        for reading in ("kNN whole", "kNN masked", "probe whole"):
            joint = reading.replace("masked", "whole")
            pairs[f"{name}: {reading} less joint"] = (f"{name}: {reading}", f"joint: {joint}")
        for what in ("class", "nuisance", "deviation"):
            key = f"{name}: mask and {what}"
            pairs[key] = (key, "zero")
    return pairs


def corrected(rows) -> dict[str, float]:
    """Print and return the p-values of each mask's three gains, corrected for their number."""
    compared = {}
    for name in METHODS:
        if METHODS[name] is None:
            continue
        masked = f"{name}: kNN masked"
        for other in ("joint: kNN whole", f"{name}: kNN whole", f"{name}: kNN permuted"):
            values = ([row[key] for row in rows] for key in (masked, other))
            compared[f"{masked} less {other}"] = float(stats.ttest_rel(*values).pvalue)
    adjusted = dict(zip(compared, holm(list(compared.values())), strict=True))
    print(f"p-values of {len(compared)} comparisons, after Holm's correction")
    for name, p_value in adjusted.items():
        print(f"  {name:58} {compared[name]:.4f} → {p_value:.4f}")
    return adjusted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    sets = [
        mmlite.plant_background(images, STRENGTH).to(DEVICE)
        for images in (mmlite.load("fashion", "train", size=5000), mmlite.load("fashion", "test"))
    ]
    rows = [one_seed(seed, *sets) for seed in tqdm(seeds, unit="seed")]
    save(
        "metamask",
        f"uv run python benchmarks/metamask.py --seeds {len(rows)}",
        {
            "seeds": list(seeds),
            **summarize(rows, claims()),
            "p after Holm": corrected(rows),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
