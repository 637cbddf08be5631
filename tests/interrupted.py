"""A small run that a test kills: python tests/interrupted.py METHOD FOLDER [STEPS].

Trains with a checkpoint in FOLDER and goes on from it if one is there. Says when the first step
begins and how many seconds the steps took; when done, writes the final weights, mask and losses to
FOLDER/final.pt. STEPS: write the checkpoint after so many steps too.
"""

import itertools
import sys
import time
from pathlib import Path

import torch
from torch import nn

from mmlite import Checkpointing, LookaheadMetaMask, MetaMask, TwoViews, fit, projector, small_conv
from mmlite.data import ImageSet
from mmlite.metamask import DimensionalMask


def build(method: str):
    """Return a `MetaMask` of a small network whose dropout draws from the global generator."""
    torch.manual_seed(0)
    encoder = nn.Sequential(small_conv(1, 8), nn.Dropout(0.1))
    mask = DimensionalMask(8)
    kind = {"metamask": MetaMask, "lookahead": LookaheadMetaMask}[method]
    heads = [nn.Sequential(projector(8, 8, 4), nn.Dropout(0.1)) for _ in range(2)]
    optimizer = torch.optim.Adam(mask.parameters(), 0.05)
    return kind(encoder, *heads, mask, optimizer, TwoViews(crop=(0.4, 1.0)))


def run(
    method: str,
    folder: Path,
    every: int | None = None,
    stop: int | None = None,
    precision: str = "float32",
) -> dict:
    """Train, or go on training, and return what came of it; stop within the step `stop`."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (40, 1, 16, 16), dtype=torch.uint8, generator=generator)
    images = ImageSet(pixels, torch.zeros(40, dtype=torch.int64), ("a",))
    meta = build(method)
    steps = itertools.count(1)

    def loss(*arguments):
        if next(steps) == stop:
            raise KeyboardInterrupt
        return meta.loss(*arguments)

    history = fit(
        meta.model,
        loss,
        images,
        epochs=4,
        batch_size=8,
        before_step=meta.before_step,
        after_step=meta.after_step,
        progress=False,
        checkpoint=Checkpointing(
            folder / "last.pt", every=every, resume=True, extra_state={"trainer": meta}
        ),
        description={"method": method},
        precision=precision,
    )
    return {
        "model": meta.model.state_dict(),
        "mask": meta.state_dict()["mask"],
        "random": torch.get_rng_state(),
        "loss": history.loss,
    }


if __name__ == "__main__":
    method, folder, *every = sys.argv[1:]
    print("begin", flush=True)
    started = time.perf_counter()
    result = run(method, Path(folder), int(every[0]) if every else None)
    print(time.perf_counter() - started, flush=True)
    torch.save(result, Path(folder) / "final.pt")
