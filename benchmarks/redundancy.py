"""Lesson 02's figures over seeds: what redundancy reduction does to z, to h and to accuracy.

    uv run python benchmarks/redundancy.py [--seeds 5]

Trains SimCLR, Barlow Twins with a small and a large weight λ off the diagonal, and both jointly,
before planted backgrounds; then Barlow Twins with narrower and wider projections, with one λ for
all widths and with λ (P − 1) kept. Prints means over seeds and the paired differences that the
lesson claims, with their 95 % Student-t interval and their least value; writes
benchmarks/results/redundancy.json. The seed decides the first weights, the order of the images and
the views.
"""

import argparse

import torch
from common import save, summarize
from torch import nn
from tqdm import tqdm

import mmlite
from mmlite import TwoViews, encode, fit, projector, small_conv
from mmlite.contrastive import nt_xent
from mmlite.evaluation import knn_accuracy
from mmlite.redundancy import barlow_twins, effective_rank, redundancy

DEVICE = mmlite.device()
VIEWS = TwoViews(crop=(0.4, 1.0), jitter=0.8)
OFF_DIAGONAL = 0.1  # for P = 64; Zbontar et al.'s 5e-3 is for P = 8192
REDUNDANCY_WEIGHT = 0.02
WIDTHS = (4, 16, 64, 256, 1024)


class Heads(nn.Module):
    """An encoder with a head for each loss."""

    def __init__(self, width: int, heads: int, channels: int) -> None:
        super().__init__()
        self.encoder = small_conv(channels, 128)
        self.heads = nn.ModuleList(projector(128, 256, width) for _ in range(heads))

    def forward(self, x):
        h = self.encoder(x)
        return [head(h) for head in self.heads]


def train(
    images,
    losses,
    seed: int,
    width: int = 64,
    views: TwoViews = VIEWS,
    epochs: int = 8,
    batch_size: int = 128,
):
    """Return a model trained on the sum of its heads' losses."""
    torch.manual_seed(seed)
    model = Heads(width, len(losses), images.images.shape[1]).to(DEVICE)

    def loss(model, batch, generator):
        x1, x2 = views(batch, generator)
        pairs = [z.chunk(2) for z in model(torch.cat([x1, x2]))]
        return sum(one(*pair) for one, pair in zip(losses, pairs, strict=True))

    if epochs:
        fit(model, loss, images, epochs=epochs, batch_size=batch_size, seed=seed, progress=False)
    return model.eval()


def read(model, train_set, test_set) -> dict[str, float]:
    """Return every figure of one trained model."""
    train_h, test_h = encode(model.encoder, train_set), encode(model.encoder, test_set)
    with torch.no_grad():
        z = model.heads[-1](test_h)
    return {
        "kNN": knn_accuracy(train_h, train_set.labels, test_h, test_set.labels),
        "redundancy of h": redundancy(test_h),
        "redundancy of z": redundancy(z),
        "effective rank of h": effective_rank(test_h, center=True),
        "effective rank of z": effective_rank(z, center=True),
    }


def decorrelate(width: int = 64, weight: float = 1.0):
    """Return the redundancy loss whose λ gives copies the same price at every width."""
    off_diagonal = OFF_DIAGONAL * 63 / (width - 1)
    return lambda z1, z2: weight * barlow_twins(z1, z2, off_diagonal)


METHODS = {
    "SimCLR": [nt_xent],
    "Barlow Twins": [decorrelate()],
    "joint": [nt_xent, decorrelate(weight=REDUNDANCY_WEIGHT)],
}


def one_seed(seed: int, train_set, test_set) -> dict[str, float]:
    """Return every figure of one seed by its name."""
    figures = {}

    def keep(name: str, model) -> None:
        for figure, value in read(model, train_set, test_set).items():
            figures[f"{name}: {figure}"] = value

    keep("untrained", train(train_set, [nt_xent], seed, epochs=0))
    for name, losses in METHODS.items():
        keep(name, train(train_set, losses, seed))
    keep("Barlow Twins, small λ", train(train_set, [barlow_twins], seed))
    for width in WIDTHS:
        for name, loss in (("one λ", barlow_twins), ("λ by width", decorrelate(width))):
            keep(f"{name}, P = {width}", train(train_set, [loss], seed, width, epochs=4))
    return figures


FIGURES = (
    "kNN",
    "redundancy of h",
    "redundancy of z",
    "effective rank of h",
    "effective rank of z",
)
CLAIMS = {
    f"{figure}, {a} − {b}": (f"{a}: {figure}", f"{b}: {figure}")
    for a, b in (
        ("Barlow Twins", "SimCLR"),
        ("Barlow Twins", "Barlow Twins, small λ"),
        ("joint", "SimCLR"),
        ("joint", "Barlow Twins"),
        ("SimCLR", "untrained"),
        ("Barlow Twins", "untrained"),
    )
    for figure in FIGURES
} | {
    f"{figure}, {name}, P = {b} − P = {a}": (
        f"{name}, P = {b}: {figure}",
        f"{name}, P = {a}: {figure}",
    )
    for figure in FIGURES
    for name in ("one λ", "λ by width")
    for a, b in ((4, 16), (16, 64), (64, 256), (256, 1024), (64, 1024), (4, 1024), (4, 256))
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    train_set, test_set = (
        mmlite.plant_background(images, strength=0.25).to(DEVICE)
        for images in (mmlite.load("fashion", "train", size=5000), mmlite.load("fashion", "test"))
    )
    rows = [one_seed(seed, train_set, test_set) for seed in tqdm(seeds, unit="seed")]
    save(
        "redundancy",
        f"uv run python benchmarks/redundancy.py --seeds {len(rows)}",
        {"seeds": list(seeds), **summarize(rows, CLAIMS), "rows": rows},
    )


if __name__ == "__main__":
    main()
