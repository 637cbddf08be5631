"""Lesson 06's figures over seeds: the account of the contrastive loss, and what a mask does to it.

    uv run python benchmarks/theory.py [--seeds 5]

Trains SimCLR, Barlow Twins, the joint loss and MetaMask (lookahead) before planted backgrounds and
reads the account of two views of each test image at τ = 0.2: of projections z, where the loss is
taken, after each of some epochs; of representations h, where one reads; of h centered, whitened,
through the mask and through random masks. Writes benchmarks/results/theory.json. The seed decides
first weights, order, views and masks.
"""

import argparse
from collections.abc import Callable

import torch
from common import save, summarize
from torch import Tensor
from tqdm import tqdm

import mmlite
from mmlite import fit_whitening, knn_accuracy, risk_account, risk_bounds
from mmlite.experiments.parts import Parts, build, fit_parts, images_of, views_of
from mmlite.experiments.recipes import RECIPES
from mmlite.theory import mask_claims

DEVICE = mmlite.device()
RECIPE = RECIPES["fashion-laptop"].replace(images=2500)
METHODS = {
    "SimCLR": ("simclr", "paper"),
    "Barlow Twins": ("barlow-twins", "paper"),
    "joint": ("joint", "paper"),
    "MetaMask": ("metamask", "lookahead"),
}
READ_AFTER = (1, 2, 4, 8)
MASKS, IMAGES_OF_MASKS = 200, 500  # random masks, and the images on which they are compared
TERMS = ("cross_entropy", "contrastive", "variance", "alignment", "jensen")


@torch.no_grad()
def features(net: Callable[[Tensor], Tensor], views) -> Tensor:
    """Return what a network makes of two views, [2, N, D], by pieces."""
    return torch.stack([torch.cat([net(part) for part in x.split(500)]) for x in views])


def projected(parts: Parts, x: Tensor) -> Tensor:
    """Return the projections that the contrastive loss sees (Barlow Twins: its own)."""
    if isinstance(parts.model, torch.nn.Sequential):
        return parts.model(x)
    mask = 0.5 if parts.mask is None else parts.mask.entries
    return parts.model["heads"][0](mask * parts.encoder(x))


def read(found: dict, name: str, views: Tensor, labels: Tensor) -> None:
    """Add the account and the bounds of features to the figures."""
    account = risk_account(views, labels, RECIPE.temperature)
    bounds = risk_bounds(views, labels, RECIPE.temperature)
    found |= {f"{name}: {term}": getattr(account, term) for term in TERMS}
    found[f"{name}: out of balance"] = abs(account.total - account.cross_entropy)
    for bound in ("upper", "upper_by_length", "upper_as_printed"):
        found[f"{name}: {bound}"] = getattr(bounds, bound)


def train(found: dict, name: str, seed: int, train_set, views, labels) -> Parts:
    """Train a method, adding the account of its projections by epoch."""
    parts = build(RECIPE, *METHODS[name], seed=seed, where=DEVICE)

    def on_epoch(epoch: int) -> None:
        if epoch in READ_AFTER:
            parts.model.eval()
            z = features(lambda x: projected(parts, x), views)
            read(found, f"{name}, z after {epoch}", z, labels)
            parts.model.train()

    fit_parts(parts, RECIPE, train_set, seed, progress=name, on_epoch=on_epoch)
    parts.model.eval()
    return parts


def one_seed(seed: int, train_set, test_set) -> dict[str, float]:
    """Return every figure of one seed by its name."""
    views = views_of(RECIPE)(test_set.images, torch.Generator().manual_seed(seed))
    labels, found = test_set.labels, {"zero": 0.0}
    untrained = build(RECIPE, "simclr", seed=seed, where=DEVICE)
    untrained.model.eval()
    read(found, "pixels", torch.stack([x.flatten(1) for x in views]), labels)
    read(found, "untrained, z", features(untrained.model, views), labels)
    read(found, "untrained, h", features(untrained.encoder, views), labels)
    for name in METHODS:
        parts = train(found, name, seed, train_set, views, labels)
        h = features(parts.encoder, views)
        read(found, f"{name}, h", h, labels)
        if name == "SimCLR":
            read(found, "SimCLR, h centered", h - h.mean((0, 1)), labels)
            read(found, "SimCLR, h whitened", whitened(parts, train_set, h), labels)
            found |= neighbors(parts, train_set, test_set)
        if parts.mask is not None:
            found |= masks(h, labels, parts.mask.entries.detach(), seed)
            read(found, f"{name}, h masked", h * parts.mask.entries.detach(), labels)
    return found


def whitened(parts: Parts, train_set, h: Tensor) -> Tensor:
    """Return both views of h whitened by the features of the training images."""
    white = fit_whitening(mmlite.encode(parts.encoder, train_set))
    return torch.stack([white(one) for one in h])


def neighbors(parts: Parts, train_set, test_set) -> dict[str, float]:
    """Return kNN's accuracy on h, centered and whitened too."""
    h, fresh = (mmlite.encode(parts.encoder, images) for images in (train_set, test_set))
    changes = {
        "whole": lambda h: h,
        "centered": lambda x: x - h.mean(0),
        "whitened": fit_whitening(h),
    }
    return {
        f"SimCLR, kNN {name}": knn_accuracy(
            change(h), train_set.labels, change(fresh), test_set.labels
        )
        for name, change in changes.items()
    }


def masks(h: Tensor, labels: Tensor, mask: Tensor, seed: int) -> dict[str, float]:
    """Return what the learned mask does, beside its shuffles and random masks."""
    h, labels = h[:, :IMAGES_OF_MASKS], labels[:IMAGES_OF_MASKS]
    generator = torch.Generator().manual_seed(seed)
    claims = {"mask": [mask_claims(h, labels, mask, RECIPE.temperature)], "shuffle": [], "any": []}
    for _ in range(MASKS):
        order = torch.randperm(len(mask), generator=generator).to(mask.device)
        drawn = torch.rand(len(mask), generator=generator).to(mask.device)
        for kind, one in (("shuffle", mask[order]), ("any", drawn)):
            claims[kind].append(mask_claims(h, labels, one, RECIPE.temperature))
    found = {}
    for kind, several in claims.items():
        change = {
            "variance": [c.masked.variance - c.whole.variance for c in several],
            "contrastive": [c.masked.contrastive - c.whole.contrastive for c in several],
            "risk": [c.masked.cross_entropy - c.whole.cross_entropy for c in several],
        }
        for what, values in change.items():
            found[f"{kind}: change of {what}"] = sum(values) / len(values)
        narrow = [c for c in several if c.interval_narrows]
        found[f"{kind}: narrows"] = len(narrow) / len(several)
        if kind == "any":
            found["any: of those that narrow, worse"] = sum(not c.risk_falls for c in narrow) / max(
                1, len(narrow)
            )
    own = claims["mask"][0]
    for what in ("variance", "cross_entropy"):
        value = getattr(own.masked, what)
        below = sum(getattr(c.masked, what) > value for c in claims["shuffle"])
        found[f"mask: {what} below shuffles"] = below / MASKS
    return found


def claims() -> dict[str, tuple[str, str]]:
    """Return the differences that the lesson speaks of."""
    pairs = {
        f"SimCLR, z: {term}, end − start": (f"SimCLR, z after 8: {term}", f"untrained, z: {term}")
        for term in TERMS
    }
    for name in METHODS:
        z = f"{name}, z after 8"
        pairs[f"{z}: bound as printed − CE"] = (f"{z}: upper_as_printed", f"{z}: cross_entropy")
        pairs[f"{z}: bound − CE"] = (f"{z}: upper", f"{z}: cross_entropy")
    for what in ("centered", "whitened"):
        for term in ("cross_entropy", "variance", "alignment"):
            pairs[f"SimCLR, h {what}: {term} − whole"] = (
                f"SimCLR, h {what}: {term}",
                f"SimCLR, h: {term}",
            )
        pairs[f"SimCLR, kNN {what} − whole"] = (f"SimCLR, kNN {what}", "SimCLR, kNN whole")
    for kind in ("mask", "shuffle", "any"):
        for what in ("variance", "contrastive", "risk"):
            pairs[f"{kind}: change of {what}"] = (f"{kind}: change of {what}", "zero")
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    sets = [images_of(RECIPE, split).to(DEVICE) for split in ("train", "test")]
    rows = [one_seed(seed, *sets) for seed in tqdm(seeds, unit="seed")]
    save(
        "theory",
        f"uv run python benchmarks/theory.py --seeds {len(rows)}",
        {"seeds": list(seeds), **summarize(rows, claims()), "rows": rows},
    )


if __name__ == "__main__":
    main()
