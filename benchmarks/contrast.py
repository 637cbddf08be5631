"""Why a temperature, a projector, a large batch: lesson 01's figures over seeds.

    uv run python benchmarks/contrast.py [--seeds 5]

Trains SimCLR on the plain garments at several temperatures and batch sizes, and before planted
backgrounds without color jitter; reads h and z by kNN and by a linear probe, h with few labels, and
measures which share of the push on strangers hits those of the query's own class. Beside it, the
same encoder trained with all labels, and pixels and an untrained encoder with few. Prints means
over seeds and the paired differences that the lesson quotes, with their 95 % Student-t interval and
their least value; writes benchmarks/results/contrast.json. The seed decides the first weights, the
order of the images, the views and the labels that are known.
"""

import argparse
from functools import partial

import torch
from common import save, summarize
from redundancy import train
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

import mmlite
from mmlite import TwoViews, encode, nt_xent, small_conv
from mmlite.evaluation import few_label_accuracy, knn_accuracy, linear_probe_accuracy

DEVICE = mmlite.device()
EPOCHS, BATCH, TAU = 8, 128, 0.2
TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0)
BATCHES = (32, 128, 512)
LABELS = (1, 5, 20, 100)
VIEWS = TwoViews(crop=(0.4, 1.0), jitter=0.4)
PLAIN = TwoViews(crop=(0.4, 1.0), jitter=0.0, gray=0.0)


def simclr(images, seed: int, temperature: float = TAU, batch_size: int = BATCH, views=VIEWS):
    """Return an encoder trained by NT-Xent, and its head."""
    losses = [partial(nt_xent, temperature=temperature)]
    model = train(images, losses, seed, views=views, epochs=EPOCHS, batch_size=batch_size)
    return nn.Sequential(model.encoder, model.heads[0])


@torch.no_grad()
def own_class_push(model, images, seed: int) -> float:
    """Return the share of the push on strangers that hits those of the query's class."""
    x1, x2 = VIEWS(images.images[:BATCH], torch.Generator().manual_seed(seed))
    z = F.normalize(model(torch.cat([x1, x2])), dim=1)
    place = torch.arange(BATCH, device=z.device).repeat(2)
    strangers = place[:, None] != place[None]
    push = (z @ z.T / TAU).masked_fill(~strangers, -torch.inf).softmax(1)
    labels = images.labels[:BATCH].repeat(2)
    return float((push * (labels[:, None] == labels[None])).sum(1).mean())


def read(model, seen, fresh) -> dict[str, float]:
    """Return kNN and probe on h and on z."""
    encoder, head = model
    figures = {}
    with torch.no_grad():
        tables = {"h": [encode(encoder, s) for s in (seen, fresh)]}
        tables["z"] = [head(h) for h in tables["h"]]
    for name, (h, h_fresh) in tables.items():
        labeled = (h, seen.labels, h_fresh, fresh.labels)
        figures[f"kNN of {name}"] = knn_accuracy(*labeled)
        figures[f"probe of {name}"] = linear_probe_accuracy(*labeled)
    return figures


def supervised(seen, fresh, seed: int) -> float:
    """Return the test accuracy of the same encoder trained with all labels, on the same views."""
    torch.manual_seed(seed)
    model = nn.Sequential(small_conv(seen.images.shape[1], 128), nn.Linear(128, 10)).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        order = torch.randperm(len(seen), generator=generator).to(DEVICE)
        for batch in order.split(BATCH):
            view, _ = VIEWS(seen.images[batch], generator)
            optimizer.zero_grad()
            F.cross_entropy(model(view), seen.labels[batch]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        guess = model(fresh.images.float() / 255).argmax(1)
    return float((guess == fresh.labels).float().mean())


def one_seed(seed: int, seen, fresh) -> dict[str, float]:
    """Return every figure of one seed by its name."""
    usual = simclr(seen, seed)
    of_usual = read(usual, seen, fresh)
    readings = {f"τ = {TAU}": of_usual, f"batch {BATCH}": of_usual}
    for temperature in set(TEMPERATURES) - {TAU}:
        readings[f"τ = {temperature}"] = read(simclr(seen, seed, temperature), seen, fresh)
    for batch in set(BATCHES) - {BATCH}:
        readings[f"batch {batch}"] = read(simclr(seen, seed, batch_size=batch), seen, fresh)
    planted = [mmlite.plant_background(s, 0.25).to(DEVICE) for s in (seen, fresh)]
    readings["shortcut"] = read(simclr(planted[0], seed, views=PLAIN), *planted)
    figures = {
        f"{setting}: {name}": value
        for setting, of_it in readings.items()
        for name, value in of_it.items()
    }
    figures["push on the own class"] = own_class_push(usual, fresh, seed)
    torch.manual_seed(seed)
    untrained = small_conv(1, 128).to(DEVICE).eval()
    kinds = {
        "pixels": [s.images.flatten(1).float() / 255 for s in (seen, fresh)],
        "untrained": [encode(untrained, s) for s in (seen, fresh)],
        "trained": [encode(usual[0], s) for s in (seen, fresh)],
    }
    for kind, (h, h_fresh) in kinds.items():
        for known in LABELS:
            figures[f"{kind}, {known} labels a class"] = few_label_accuracy(
                h, seen.labels, h_fresh, fresh.labels, known, draws=3, seed=seed
            )
    figures["all labels, supervised"] = supervised(seen, fresh, seed)
    return figures


def claims() -> dict[str, tuple[str, str]]:
    pairs = {}
    for world in (f"τ = {TAU}", "shortcut"):
        for reader in ("kNN", "probe"):
            pairs[f"{world}: {reader}, z − h"] = (
                f"{world}: {reader} of z",
                f"{world}: {reader} of h",
            )
    for setting, usual, values in (("τ =", TAU, TEMPERATURES), ("batch", BATCH, BATCHES)):
        for value in values:
            for reader in ("kNN of h", "probe of h"):
                if value != usual:
                    pairs[f"{reader}, {setting} {value} − {usual}"] = (
                        f"{setting} {value}: {reader}",
                        f"{setting} {usual}: {reader}",
                    )
    for known in LABELS:
        for other in ("pixels", "untrained"):
            pairs[f"{known} labels a class, trained − {other}"] = (
                f"trained, {known} labels a class",
                f"{other}, {known} labels a class",
            )
    pairs["supervised − probe of h"] = ("all labels, supervised", f"τ = {TAU}: probe of h")
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    sets = [
        s.to(DEVICE)
        for s in (mmlite.load("fashion", "train", size=5000), mmlite.load("fashion", "test"))
    ]
    rows = [one_seed(seed, *sets) for seed in tqdm(seeds, unit="seed")]
    save(
        "contrast",
        f"uv run python benchmarks/contrast.py --seeds {len(rows)}",
        {"seeds": list(seeds), **summarize(rows, claims()), "rows": rows},
    )


if __name__ == "__main__":
    main()
