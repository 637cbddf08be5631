"""A folder of JPEGs, end to end: images a second of an epoch of SimCLR, and memory.

    uv run python benchmarks/loading.py [--rounds 5]

A folder of random smooth pictures of 160 × 160 pixels, brought to 64 × 64, trains `small_conv` with
NT-Xent, batch 128:

- mmlite, held: `ImageSet.from_folder` once, then `mmlite.fit`; what reading costs stands apart;
- mmlite, loaded: `mmlite.fit` on a DataLoader of torchvision's ImageFolder, which resizes; it
  makes its views of that, on the device, where the other two crop the whole picture;
- torchvision: the same DataLoader with two torchvision transforms of each picture;
- lightly: its transform in the same DataLoader.

The last two train by the loop of lightly's examples, with the same encoder, head, loss, optimizer.
A worker a core, 8 at most. Then the most memory of a process that trains on a folder, held and
loaded, and on one ten times as large. Prints medians over rounds; writes
benchmarks/results/loading-DEVICE.json.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from common import in_a_new_process, in_turn, median_ratio, save
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from views import lightly_transform, torchvision_transform

import mmlite

SIDE, OF_FILES, BATCH, WORKERS = 64, 160, 128, min(os.cpu_count() or 1, 8)
COUNT, CLASSES = 1280, 4
DEVICE = mmlite.device()
VIEWS = mmlite.TwoViews()


def write(folder: Path, count: int) -> Path:
    """Write a folder of JPEGs, a subfolder for each class."""
    generator = torch.Generator().manual_seed(0)
    for place in range(count):
        small = torch.randint(0, 256, (1, 3, 10, 10), dtype=torch.uint8, generator=generator)
        large = nn.functional.interpolate(small.float(), OF_FILES, mode="bicubic").clamp(0, 255)
        path = folder / f"class{place % CLASSES}" / f"{place:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(large[0].permute(1, 2, 0).byte().numpy()).save(path, quality=90)
    return folder


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(mmlite.small_conv(3, 128), mmlite.projector(128, 256, 64)).to(DEVICE)


def simclr(net: nn.Module, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return mmlite.nt_xent(*net(torch.cat(VIEWS(batch, generator))).chunk(2))


def loader(folder: Path, transform) -> DataLoader:
    return DataLoader(
        ImageFolder(str(folder), transform),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,  # so that no round waits for them to start
        pin_memory=DEVICE.type == "cuda",
    )


def ours(images, **options):
    """Return an epoch of `mmlite.fit`."""
    return partial(mmlite.fit, model(), simclr, images, epochs=1, progress=False, **options)


def theirs(folder: Path, transform):
    """Return an epoch of the loop in lightly's examples, on two views that a worker made."""
    net, batches = model(), loader(folder, transform)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)

    def epoch() -> None:
        for (x1, x2), _ in batches:
            z1, z2 = net(torch.cat([x1, x2]).to(DEVICE, non_blocking=True)).chunk(2)
            loss = mmlite.nt_xent(z1, z2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def measure_memory(folder: Path, way: str) -> float:
    """Return the most MB that this process held while it trained on a folder."""
    if way == "held":
        ours(mmlite.ImageSet.from_folder(folder, SIDE), batch_size=BATCH)()
    else:
        ours(loader(folder, v2.Resize((SIDE, SIDE))))()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)  # what a new process is for
    options = parser.parse_args()
    if options.only:
        print(measure_memory(Path(options.only[0]), options.only[1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, large = Path(temporary) / "small", Path(temporary) / "large"
        write(folder, COUNT)
        started = time.perf_counter()
        held = mmlite.ImageSet.from_folder(folder, SIDE)
        reading = time.perf_counter() - started
        resize = v2.Resize((SIDE, SIDE))
        seconds = in_turn(
            {
                "mmlite, held": ours(held, batch_size=BATCH),
                "mmlite, loaded": ours(loader(folder, resize)),
                "torchvision": theirs(folder, twice(torchvision_transform(SIDE))),
                "lightly": theirs(folder, lightly_transform(SIDE)),
            },
            options.rounds,
        )
        write(large, 10 * COUNT)
        memory = {
            f"{way}, {count:,} images": round(in_a_new_process(__file__, where, way))
            for way in ("held", "loaded")
            for where, count in ((folder, COUNT), (large, 10 * COUNT))
        }
    figures = {
        "images a second": {
            who: round(COUNT / statistics.median(times)) for who, times in seconds.items()
        },
        "images a second, reading once": round(COUNT / reading),
        "times as fast, loaded": {
            who: round(median_ratio(seconds[who], seconds["mmlite, loaded"]), 2)
            for who in ("torchvision", "lightly")
        },
        "most memory of the process that trains, MB": memory,
    }
    print(json.dumps(figures, indent=1))
    save(f"loading-{DEVICE.type}", "uv run python benchmarks/loading.py", figures)


def twice(transform):
    """Return two views of a picture by torchvision."""
    return lambda picture: [transform(picture) for _ in range(2)]


if __name__ == "__main__":
    main()
