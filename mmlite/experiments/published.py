"""MetaMask on CIFAR-10 as its authors published it, with every reading reported.

Their code (jiangmengli/MetaMask on GitHub) has other numbers than the recipes here, and reports the
best epoch on the test set. This is that training: ResNet-18, Barlow Twins + 10 · NT-Xent, heads of
2048 and 256, SGD, a mask by SGD, the virtual step with momentum and decay, the second term by a
finite difference. Two things differ: a virtual pass here leaves BatchNorm's running statistics as
they are, and views turn hue in YIQ.

    uv run python -m mmlite.experiments.published --out runs/published --download

It has been run on small files of CIFAR-10's format alone: 800 epochs take a GPU.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmlite.contrastive import nt_xent
from mmlite.data import ImageSet, load
from mmlite.encoders import encode, resnet18
from mmlite.evaluation import knn_accuracy
from mmlite.experiments.log import Log
from mmlite.experiments.runs import CHECKPOINT, LOG
from mmlite.metamask import DimensionalMask, MetaMask
from mmlite.support.devices import device
from mmlite.training import Checkpointing, History, fit
from mmlite.training.schedule import warmup_cosine
from mmlite.views import TwoViews

DIM, HIDDEN, REDUNDANCY_WIDTH, CONTRASTIVE_WIDTH = 512, 2048, 2048, 256
EPOCHS, BATCH_SIZE, SEED = 800, 512, 1
WEIGHT_OF_CONTRASTIVE, TEMPERATURE = 10.0, 0.07
# of the network and of the mask
SGD: dict[str, Any] = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}
NEIGHBORS, VOTE_TEMPERATURE = 5, 1.0
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # means and deviations


class Normalized(nn.Module):
    """Images less ImageNet's mean colors, over their deviations, before a network."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name, values in zip(("mean", "deviation"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.deviation)


def head(width: int, layers: int) -> nn.Sequential:
    """Return a projection head of so many linear layers, each with BatchNorm, the last one too."""
    sizes = [DIM, *[HIDDEN] * (layers - 1)]
    parts: list[nn.Module] = []
    for size_in in sizes[:-1]:
        parts += [nn.Linear(size_in, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], width, bias=False), nn.BatchNorm1d(width))


class PublishedMetaMask(MetaMask):
    """MetaMask with their weights: Barlow Twins + 10 · NT-Xent; the meta step takes NT-Xent."""

    def weighed(self, contrastive: Tensor, redundancy: Tensor) -> Tensor:
        """Return the regular step's loss."""
        return redundancy + WEIGHT_OF_CONTRASTIVE * contrastive


def build(seed: int = SEED, where: torch.device | str = "cpu") -> PublishedMetaMask:
    """Return encoder, heads, mask and losses; the seed draws the first weights."""
    torch.manual_seed(seed)
    mask = DimensionalMask(DIM).to(where)
    return PublishedMetaMask(
        Normalized(resnet18(3, DIM)).to(where),
        head(CONTRASTIVE_WIDTH, layers=2).to(where),
        head(REDUNDANCY_WIDTH, layers=3).to(where),
        mask,
        torch.optim.SGD(mask.parameters(), **SGD),
        TwoViews(crop=(0.08, 1.0), jitter=0.4, gray=0.2),
        contrastive_loss=lambda z1, z2: nt_xent(z1, z2, TEMPERATURE),
        virtual_lr=None,  # the optimizer's of the moment
        copy_optimizer=True,
        method="finite-difference",
    )


def train(
    train_set: ImageSet,
    test_set: ImageSet,
    out: Path,
    epochs: int = EPOCHS,
    batch_size: int = BATCH_SIZE,
    seed: int = SEED,
) -> list[dict[str, float]]:
    """Train, go on where a run in `out` was stopped, and return the readings of each epoch.

    Args:
        train_set: color images.
        test_set: those that are read, after each epoch.
        out: the folder of the checkpoint, and of `log.jsonl` with a line an epoch.
        epochs: 800, as published.
        batch_size: 512.
        seed: of weights, order and views.

    Returns:
        For each epoch its number, its loss, and the test accuracies of kNN (k = 5, τ = 1) on h
        through the mask and whole.
    """
    method = build(seed, device())
    log, history = Log(out / LOG), History()

    def on_epoch(epoch: int) -> None:
        method.mask_optimizer.param_groups[0]["lr"] = SGD["lr"] * warmup_cosine(epoch, epochs, 0)
        line = {"epoch": epoch, "loss": history.epoch_loss[epoch - 1]}
        log.write(line | read(method, train_set, test_set))

    fit(
        method.model,
        method.loss,
        train_set,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        optimizer=lambda parameters: torch.optim.SGD(parameters, **SGD),
        schedule=lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step * epochs // steps, epochs, 0)
        ),
        after_step=method.after_step,
        on_epoch=on_epoch,
        history=history,
        checkpoint=Checkpointing(out / CHECKPOINT, resume=True, extra_state={"method": method}),
    )
    return [json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines()]


def read(method: MetaMask, train_set: ImageSet, test_set: ImageSet) -> dict[str, float]:
    """Return the test accuracies 0..1 of kNN on h through the mask and whole."""
    h, test_h = (encode(method.encoder, one) for one in (train_set, test_set))
    entries = method.mask.entries.detach()
    labels, test_labels = (one.labels.to(h.device) for one in (train_set, test_set))
    return {
        name: knn_accuracy(h * by, labels, test_h * by, test_labels, NEIGHBORS, VOTE_TEMPERATURE)
        for name, by in (("masked", entries), ("whole", torch.ones_like(entries)))
    }


def told(lines: Sequence[dict[str, float]]) -> str:
    """Return the last reading, and the best one with what chose it, as text."""
    last, best = lines[-1], max(lines, key=lambda line: line["masked"])
    return (
        f"kNN on the test images, percent, after {len(lines)} epochs: "
        f"{100 * last['masked']:.2f} through the mask, {100 * last['whole']:.2f} whole\n"
        f"the best of these epochs, as published: {100 * best['masked']:.2f} (epoch "
        f"{best['epoch']}), chosen by the images that it is measured on"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says, and print what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m mmlite.experiments.published", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder; a run there goes on")
    parser.add_argument("--root", type=Path, help="where CIFAR-10 lies (by default data/)")
    parser.add_argument("--download", action="store_true", help="fetch it if it is not there")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--seed", type=int, default=SEED)
    told_by = parser.parse_args(arguments)
    train_set, test_set = (
        load("cifar10", split, root=told_by.root, download=told_by.download)
        for split in ("train", "test")
    )
    numbers = told_by.epochs, told_by.batch_size, told_by.seed
    print(told(train(train_set, test_set, told_by.out, *numbers)))


if __name__ == "__main__":
    main()
