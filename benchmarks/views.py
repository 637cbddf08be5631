"""Two views of a batch: ours, kornia's and the per-image PIL pipelines, in turn in one run.

    uv run python benchmarks/views.py [--batch 256] [--side 28] [--rounds 15]

All make the same operations with the same probabilities: random resized crop (0.2 to 1 of the
area), flip, color jitter (0.4, 0.4, 0.4, 0.1 with probability 0.8) and grayscale (0.2), from a
batch of uint8 images in memory to two float batches. kornia turns hue in HSV and clamps after each
operation; ours turns it in YIQ and clamps once. The PIL pipelines (torchvision's transforms, and
lightly's SimCLRTransform without blur) take one image at a time in one process, as a loader's
worker would; lightly's returns both views at once. Also the share that our views take of a
whole training step of `small_conv` (CPU) or `resnet18` (GPU, bfloat16). Where there is a GPU,
ours and kornia's run there too. Prints pairs a second and the median ratios over rounds; writes
benchmarks/results/views-cpu.json or views-cuda.json.
"""

import argparse
import statistics
import warnings

import torch
from common import in_turn, median_ratio, save
from torch import nn

import mmlite
from mmlite import TwoViews, nt_xent, projector, resnet18, small_conv

JITTER = (0.4, 0.4, 0.4, 0.1)


def kornia_views(side: int):
    """Return a function from uint8 [N, 3, H, W] to two float batches, by kornia."""
    from kornia import augmentation as K

    pipeline = nn.Sequential(
        K.RandomResizedCrop((side, side), scale=(0.2, 1.0)),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(*JITTER, p=0.8),
        K.RandomGrayscale(p=0.2),
    )

    def views(images):
        x = images.float() / 255
        return pipeline(x), pipeline(x)

    return views


def torchvision_transform(side: int):
    """Return torchvision's transform of a PIL image to one view."""
    from torchvision import transforms as T

    return T.Compose(
        [
            T.RandomResizedCrop(side, scale=(0.2, 1.0)),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(*JITTER)], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.ToTensor(),
        ]
    )


def torchvision_views(side: int):
    """Return a function over a list of PIL images, by torchvision's transforms."""
    pipeline = torchvision_transform(side)

    def views(pictures):
        pairs = [(pipeline(p), pipeline(p)) for p in pictures]
        return [torch.stack(view) for view in zip(*pairs, strict=True)]

    return views


def lightly_transform(side: int):
    """Return lightly's SimCLR transform of a PIL image: two views, the operations that ours has."""
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(
        input_size=side,
        min_scale=0.2,
        cj_prob=0.8,
        cj_strength=0.5,
        cj_bright=0.8,
        cj_contrast=0.8,
        cj_sat=0.8,
        cj_hue=0.2,
        random_gray_scale=0.2,
        gaussian_blur=0.0,
        normalize=None,
    )


def lightly_views(side: int):
    """Return a function over a list of PIL images, by lightly's SimCLR transform."""
    pipeline = lightly_transform(side)

    def views(pictures):
        pairs = [pipeline(p) for p in pictures]
        return [torch.stack(view) for view in zip(*pairs, strict=True)]

    return views


def training_step(images, views, device):
    """Return two functions: a whole training step, and its views alone."""
    build = resnet18 if device.type == "cuda" else small_conv
    width = 512 if device.type == "cuda" else 128
    model = nn.Sequential(build(3, width), projector(width, 256, 64)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())

    def step():
        x1, x2 = views(images)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            z1, z2 = model(torch.cat([x1, x2])).chunk(2)
        optimizer.zero_grad(set_to_none=True)
        nt_xent(z1, z2).backward()
        optimizer.step()

    return step, lambda: views(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256, help="images in a batch")
    parser.add_argument("--side", type=int, default=28, help="pixels; 28 or more")
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # the peers' deprecations
    device = mmlite.device()
    from torchvision.transforms.functional import to_pil_image

    planted = mmlite.plant_background(mmlite.load("fashion", "train", size=options.batch), 0.5)
    images = nn.functional.interpolate(planted.images, size=(options.side, options.side))
    pictures = [to_pil_image(image) for image in images]
    images = images.to(device)
    ours, kornia = TwoViews(jitter=0.4), kornia_views(options.side)
    torchvision, lightly = torchvision_views(options.side), lightly_views(options.side)
    seconds = in_turn(
        {
            "mmlite": lambda: ours(images),
            "kornia": lambda: kornia(images),
            "torchvision, PIL": lambda: torchvision(pictures),
            "lightly, PIL": lambda: lightly(pictures),
        },
        options.rounds,
    )
    step, alone = training_step(images, ours, device)
    parts = in_turn({"step": step, "views": alone}, options.rounds)
    figures = {
        "batch": options.batch,
        "side": options.side,
        "device": device.type,
        "pairs per second": {
            name: round(options.batch / statistics.median(times)) for name, times in seconds.items()
        },
        "times as fast, median over rounds": {
            name: round(median_ratio(seconds[name], seconds["mmlite"]), 2)
            for name in seconds
            if name != "mmlite"
        },
        "share of a training step": round(median_ratio(parts["views"], parts["step"]), 3),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    command = f"uv run python benchmarks/views.py --batch {options.batch} --side {options.side}"
    save(f"views-{device.type}", command, figures)


if __name__ == "__main__":
    main()
