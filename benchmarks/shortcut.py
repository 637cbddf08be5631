"""Lesson 01's accuracies over seeds: what training, a nudge, a background and jitter do.

    uv run python benchmarks/shortcut.py [--seeds 5]

Prints the mean of each reader over seeds, and the paired differences that the lesson claims with
their 95 % Student-t interval and their least value; writes benchmarks/results/shortcut.json
and shortcut.png.
The seed decides the first weights, the order of the images and the views; the images, their
backgrounds and the nudge are the lesson's own.
"""

import argparse
from dataclasses import replace

import torch
from common import RESULTS, save, summarize
from torch import Tensor, nn
from tqdm import tqdm

import mmlite
from mmlite import TwoViews, encode, fit, nt_xent, projector, small_conv
from mmlite.course import plots
from mmlite.evaluation import knn_accuracy, linear_probe_accuracy, neighbors
from mmlite.exercises.lesson01 import two_views
from mmlite.statistics import paired_difference

DEVICE = mmlite.device()
PLAIN = TwoViews(crop=(0.4, 1.0), jitter=0.4)
NO_JITTER = TwoViews(crop=(0.4, 1.0), jitter=0.0, gray=0.0)
JITTER = TwoViews(crop=(0.4, 1.0), jitter=0.8)


def train(images, views: TwoViews, seed: int):
    """Return an untrained encoder, its trained twin and the loss of the last epoch."""
    torch.manual_seed(seed)
    encoder = small_conv(images.images.shape[1], 128)
    model = nn.Sequential(encoder, projector(128, 256, 64)).to(DEVICE)
    untrained = small_conv(images.images.shape[1], 128).to(DEVICE)
    untrained.load_state_dict(encoder.state_dict())

    def loss(model, batch, generator):
        x1, x2 = views(batch, generator)
        z1, z2 = model(torch.cat([x1, x2])).chunk(2)
        return nt_xent(z1, z2)

    history = fit(model, loss, images, epochs=8, batch_size=128, seed=seed, progress=False)
    return untrained, encoder, history.epoch_loss[-1]


def pixels(images) -> Tensor:
    return images.images.flatten(1).float() / 255


def one_seed(seed: int, plain, nudged, planted) -> dict[str, float]:
    """Return every figure of one seed by its name."""
    figures = {}

    def read(name: str, represent, train_set, test_set, linear: bool = False) -> None:
        features = represent(train_set), train_set.labels, represent(test_set), test_set.labels
        figures[f"{name} kNN"] = knn_accuracy(*features)
        if linear:
            figures[f"{name} linear"] = linear_probe_accuracy(*features)

    random, trained, _ = train(plain[0], PLAIN, seed)
    for name, represent in {
        "pixels": pixels,
        "random": lambda images: encode(random, images),
        "trained": lambda images: encode(trained, images),
    }.items():
        read(name, represent, *plain, linear=True)
        read(f"{name}, nudged", represent, plain[0], nudged)
        _, index = neighbors(represent(plain[0]), represent(nudged), 5)
        same = plain[0].labels[index] == nudged.labels[:, None]
        figures[f"{name}, nudged neighbors"] = float(same.float().mean())
    read("background, pixels", pixels, *planted)
    for name, views in {"no jitter": NO_JITTER, "jitter": JITTER}.items():
        random, trained, figures[f"background, {name} loss"] = train(planted[0], views, seed)
        read(f"background, {name}", lambda images, e=trained: encode(e, images), *planted)
    read("background, random", lambda images: encode(random, images), *planted)
    return figures


CLAIMS = {
    "nudged kNN, trained − random": ("trained, nudged kNN", "random, nudged kNN"),
    "nudged kNN, trained − pixels": ("trained, nudged kNN", "pixels, nudged kNN"),
    "kNN, trained − pixels": ("trained kNN", "pixels kNN"),
    "kNN, trained − random": ("trained kNN", "random kNN"),
    "linear, trained − random": ("trained linear", "random linear"),
    "linear, trained − pixels": ("trained linear", "pixels linear"),
    "neighbors, trained − pixels": ("trained, nudged neighbors", "pixels, nudged neighbors"),
    "background: random − no jitter": ("background, random kNN", "background, no jitter kNN"),
    "background: jitter − no jitter": ("background, jitter kNN", "background, no jitter kNN"),
    "background: jitter − random": ("background, jitter kNN", "background, random kNN"),
    "background: jitter − pixels": ("background, jitter kNN", "background, pixels kNN"),
    "background loss: jitter − no jitter": (
        "background, jitter loss",
        "background, no jitter loss",
    ),
}


def draw(rows: list[dict[str, float]]) -> plots.Picture:
    """Draw the kNN accuracies before a planted background with their 95 % intervals."""
    names = {
        "raw pixels": "background, pixels kNN",
        "random network": "background, random kNN",
        "SimCLR, no color jitter": "background, no jitter kNN",
        "SimCLR, color jitter 0.8": "background, jitter kNN",
    }
    means, reaches = {}, []
    for name, key in names.items():
        values = [row[key] for row in rows]
        interval = paired_difference(values, [0.0] * len(values))
        means[name] = interval.mean
        reaches.append(interval.high - interval.mean)
    return plots.bars(
        means,
        f"kNN accuracy before a planted background, {len(rows)} seeds, 95 % interval",
        "Bars of kNN accuracy before a planted background: raw pixels, a random network, SimCLR "
        "without color jitter far below both, and SimCLR with color jitter above the random "
        "network.",
        errors=reaches,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    plain = tuple(
        images.to(DEVICE)
        for images in (mmlite.load("fashion", "train", size=5000), mmlite.load("fashion", "test"))
    )
    nudge = two_views(plain[1].images, torch.Generator().manual_seed(0))[0]
    nudged = replace(plain[1], images=nudge)
    planted = tuple(mmlite.plant_background(images, strength=0.25) for images in plain)
    rows = [one_seed(seed, plain, nudged, planted) for seed in tqdm(seeds, unit="seed")]
    save(
        "shortcut",
        f"uv run python benchmarks/shortcut.py --seeds {len(rows)}",
        {"seeds": list(seeds), **summarize(rows, CLAIMS), "rows": rows},
    )
    draw(rows).save(RESULTS / "shortcut.png")


if __name__ == "__main__":
    main()
