"""Training end to end: ours, the floor under it and lightly's, in turn in one run.

    uv run python benchmarks/training.py [--rounds 5]

Images (not views) a second of

- the floor: the encoder's own forward and backward on random data of both views' shape and of the
  encoder's precision, and nothing else: no data, no views, no head, no loss, no optimizer; on a CPU
  with the memory that it frees kept, as `fit` does;
- mmlite: `mmlite.fit` of the method simclr as `mmlite train` runs it, for an epoch;
- lightly: SimCLR as in lightly's examples, for an epoch of the same images: its transforms (those
  operations that ours has) in a DataLoader with a worker a core (8 at most), its projection head
  and its NTXentLoss, with the same encoder, batch, precision, optimizer and widths.

float32 on a CPU, bfloat16 on a GPU; images are random bytes. Then how many times as fast an epoch
of ours is with the other options of `fit`, and the epochs of joint and metamask as multiples of
joint's. On a GPU an epoch of `resnet18` is as long as CIFAR-10's (50,000 images of 32 × 32, batch
512), and 200 such are told in minutes. Prints medians over rounds, and median ratios within a
round; writes benchmarks/results/training-cpu.json or training-cuda.json.
"""

import argparse
import os
import statistics
import warnings
from contextlib import nullcontext
from functools import partial

import torch
from common import in_turn, median_ratio, save
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from views import lightly_transform

import mmlite
from mmlite.data import ImageSet
from mmlite.experiments.parts import build
from mmlite.experiments.recipes import RECIPES, Recipe
from mmlite.training.memory import kept_memory

DEVICE = mmlite.device()
ON_GPU = DEVICE.type == "cuda"
PRECISION = "bfloat16" if ON_GPU else "float32"
EPOCHS = 200  # that are told in minutes on a GPU
# encoder: recipe, images' side, images a batch, steps an epoch
LAPTOP, LARGE = RECIPES["fashion-laptop"], RECIPES["cifar10"]
PROBLEMS = {
    "small_conv": (LAPTOP, 28, *((4096, 12) if ON_GPU else (256, 19))),
    "resnet18": (LARGE, 32, *((512, 50_000 // 512) if ON_GPU else (16, 4))),
}


def autocast() -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=PRECISION == "bfloat16")


def floor(recipe: Recipe, side: int, steps: int):
    """Return the encoder's forward and backward alone, as many times as an epoch has steps."""
    encoder = build(recipe, "simclr", where=DEVICE).encoder
    parameters = list(encoder.parameters())
    x = torch.rand(2 * recipe.batch_size, 3, side, side, device=DEVICE)
    gradient = torch.randn(2 * recipe.batch_size, recipe.dim, device=DEVICE)

    def epoch() -> None:
        with nullcontext() if ON_GPU else kept_memory():
            for _ in range(steps):
                with autocast():
                    h = encoder(x)
                torch.autograd.grad(h, parameters, gradient.to(h.dtype))

    return epoch


def ours(recipe: Recipe, images: ImageSet, method: str = "simclr", schedule: str = "paper", **more):
    """Return an epoch of `fit`, as `mmlite train` calls it."""
    parts = build(recipe, method, schedule, where=DEVICE)
    options = {"batch_size": recipe.batch_size, "precision": PRECISION} | parts.hooks | more
    options = {"epochs": 1, "progress": False} | options
    return partial(mmlite.fit, parts.model, parts.loss, images, **options)


class Pictures(Dataset):
    """Images as PIL has them, through a transform, as torchvision's data sets give them."""

    def __init__(self, images: ImageSet, transform) -> None:
        self.arrays = images.images.permute(0, 2, 3, 1).cpu().numpy()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        return self.transform(Image.fromarray(self.arrays[index]))


def lightly(recipe: Recipe, images: ImageSet, side: int):
    """Return an epoch of lightly's SimCLR."""
    encoder = build(recipe, "simclr", where=DEVICE).encoder
    head = SimCLRProjectionHead(recipe.dim, recipe.hidden, recipe.projection).to(DEVICE)
    model, criterion = nn.Sequential(encoder, head), NTXentLoss(recipe.temperature)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate)
    loader = DataLoader(
        Pictures(images, lightly_transform(side)),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=min(os.cpu_count() or 1, 8),
        persistent_workers=True,  # so that no round waits for them to start
        pin_memory=ON_GPU,
    )

    def epoch() -> None:
        for views in loader:
            x0, x1 = (view.to(DEVICE, non_blocking=True) for view in views)
            with autocast():
                loss = criterion(model(x0), model(x1))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


def measure(name: str, rounds: int) -> dict[str, object]:
    """Return the figures of an encoder."""
    recipe, side, batch, steps = PROBLEMS[name]
    recipe = recipe.replace(batch_size=batch)
    pixels = torch.randint(0, 256, (batch * steps, 3, side, side), dtype=torch.uint8)
    images = ImageSet(pixels, torch.zeros(len(pixels), dtype=torch.int64), ("none",)).to(DEVICE)
    other = "float32" if ON_GPU else "bfloat16"
    options = {other: {"precision": other}, "compile": {"compile": True}}
    methods = {
        "joint": ("joint", "paper"),
        "metamask, paper": ("metamask", "paper"),
        "metamask, lookahead": ("metamask", "lookahead"),
    }
    contenders = {
        "floor": floor(recipe, side, steps),
        "mmlite": ours(recipe, images),
        "lightly": lightly(recipe, images, side),
    }
    contenders |= {f"mmlite, {how}": ours(recipe, images, **more) for how, more in options.items()}
    contenders |= {one: ours(recipe, images, *which) for one, which in methods.items()}
    seconds = in_turn(contenders, rounds)
    middle = {one: statistics.median(times) for one, times in seconds.items()}

    def ratio(slow: str, fast: str) -> float:
        return round(median_ratio(seconds[slow], seconds[fast]), 3)

    figures = {
        "images per second": {one: round(len(images) / time) for one, time in middle.items()},
        "share of the floor": ratio("floor", "mmlite"),
        "times as fast as lightly": ratio("lightly", "mmlite"),
        "times as fast with": {how: ratio("mmlite", f"mmlite, {how}") for how in options},
        "multiples of joint": {one: ratio(one, "joint") for one in methods if one != "joint"},
    }
    if ON_GPU and name == "resnet18":
        figures[f"minutes for {EPOCHS} epochs"] = {
            one: round(middle[one] * EPOCHS / 60, 1) for one in ("mmlite", "lightly")
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    rounds = parser.parse_args().rounds
    warnings.filterwarnings("ignore")  # the peer's and the compiler's deprecations
    figures = {}
    for name, (_, side, batch, steps) in PROBLEMS.items():
        what = f"{name}, {side} × {side}, batch {batch}, {steps} steps, {PRECISION}"
        print(what)
        figures[what] = measure(name, rounds)
        for figure, value in figures[what].items():
            print(f"  {figure}: {value}")
    command = f"uv run python benchmarks/training.py --rounds {rounds}"
    save(f"training-{DEVICE.type}", command, figures)


if __name__ == "__main__":
    main()
