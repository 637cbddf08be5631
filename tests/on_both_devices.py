"""What the library computes, on the CPU and on a device that is not it: prints both as JSON.

python tests/on_both_devices.py
"""

import json
import math
import tempfile
from functools import partial
from pathlib import Path

import torch
from pretend import DEVICE, WAITS, Pretend

import mmlite
from mmlite import data, redundancy, training
from mmlite.experiments.parts import build
from mmlite.experiments.recipes import RECIPES
from mmlite.metamask.gradient import GRADIENT_METHODS
from mmlite.training import watch

CPU = torch.device("cpu")
TRAINED = [
    (method, schedule, precision)
    for method, schedule in [
        ("simclr", "paper"),
        ("barlow-twins", "paper"),
        ("joint", "paper"),
        ("metamask", "paper"),
        ("metamask", "lookahead"),
    ]
    for precision in ("float32", "bfloat16")
]
RECIPE = RECIPES["fashion-laptop"].replace(dim=16, hidden=16, projection=8)


def pictures(count: int = 48) -> data.ImageSet:
    return data.plant_background(data.load("fashion", "train", size=count), 0.25)


def trained(method: str, schedule: str, precision: str, device: torch.device) -> list[float]:
    """Return the losses of a run that was stopped and resumed, and then its mask."""
    with tempfile.TemporaryDirectory() as folder:
        run = partial(
            training.fit,
            images=pictures(),
            epochs=3,
            batch_size=16,
            precision=precision,
            progress=False,
        )
        parts = build(RECIPE, method, schedule, where=device)

        def saved() -> training.Checkpointing:
            return training.Checkpointing(
                Path(folder) / "last.pt", resume=True, extra_state=parts.extra_state
            )

        def stop(epoch: int) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

        try:
            run(parts.model, parts.loss, on_epoch=stop, checkpoint=saved(), **parts.hooks)
        except KeyboardInterrupt:
            parts = build(RECIPE, method, schedule, seed=1, where=device)
        history = run(parts.model, parts.loss, checkpoint=saved(), **parts.hooks)
    return history.loss + ([] if parts.mask is None else parts.mask.entries.tolist())


def waits(method: str, schedule: str, batch_size: int, spoilt: bool = False) -> dict[str, int]:
    """Return what an epoch waits for."""
    parts = build(RECIPE, method, schedule, where=DEVICE)

    def looking(model, images, generator):
        value = parts.loss(model, images, generator)
        value.item()
        return value

    images = pictures().to(DEVICE)
    WAITS.clear()
    training.fit(
        parts.model,
        looking if spoilt else parts.loss,
        images,
        epochs=1,
        batch_size=batch_size,
        progress=False,
        **parts.hooks,
    )
    return dict(WAITS)


def measured(device: torch.device) -> dict[str, list[float]]:
    """Return what readers and diagnostics say of a representation, and the meta-gradients."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    h, fresh = draw(80, 8).to(device), draw(40, 8).to(device)
    labels, fresh_labels = torch.arange(80).to(device) % 4, torch.arange(40).to(device) % 4
    h[:, 0] += labels
    fresh[:, 0] += fresh_labels
    labeled = h, labels, fresh, fresh_labels
    found = {
        "knn_accuracy": mmlite.knn_accuracy(*labeled, k=5),
        "linear_probe_accuracy": mmlite.linear_probe_accuracy(*labeled, weight_decay=0.1),
        "few_label_accuracy": mmlite.few_label_accuracy(*labeled, per_class=5, draws=2),
        "neighbors": mmlite.neighbors(h, fresh, 3)[1],
        "class_r2": mmlite.class_r2(h, labels),
        "nuisance_r2": mmlite.nuisance_r2(h, h[:, :2] + 1),
        "top_mask": mmlite.top_mask(mmlite.class_r2(h, labels), 0.5),
        "redundancy": mmlite.redundancy.redundancy(h),
        "effective_rank": mmlite.effective_rank(h),
        "effective_rank centered": mmlite.effective_rank(h, center=True),
        "rankme": mmlite.rankme(h),
        "alignment": mmlite.alignment(h[:40], fresh),
        "uniformity": mmlite.uniformity(h),
        "nt_xent": mmlite.nt_xent(h[:40], fresh),
        "barlow_twins": mmlite.barlow_twins(h[:40], fresh),
        "barlow_twins wide": mmlite.barlow_twins(h[:4], fresh[:4]),
        "cross_correlation": mmlite.cross_correlation(h[:40], fresh),
    }
    study = mmlite.random_mask_study(h, labels, fresh, fresh_labels, masks=20, k=5)
    found |= {
        "random_mask_study": study.accuracy,
        "chance_shares": mmlite.chance_shares(study, draws=20),
        "split_gain": list(mmlite.split_gain(study, splits=20)),
    }
    torch.manual_seed(0)
    encoder, head = mmlite.small_conv(3, 8).to(device), mmlite.projector(8, 8, 4).to(device)
    images = pictures(20).to(device)
    mask = mmlite.DimensionalMask(8).to(device)
    views = mmlite.TwoViews()(images.images, torch.Generator().manual_seed(0))
    for method in GRADIENT_METHODS:
        found[f"meta_gradient {method}"] = mmlite.meta_gradient(
            encoder, head, mask, views, 0.1, method=method
        )
    found["encode"] = mmlite.encode(encoder, images)
    return {
        name: torch.as_tensor(value).detach().double().flatten().tolist()
        for name, value in found.items()
    }


def seen_to_wait() -> dict[str, int]:
    """Return how many waits are counted in calls that make a GPU's host wait once each."""
    x, there = torch.rand(3, device=DEVICE), torch.ones(3, dtype=torch.int64, device=DEVICE)
    calls = {
        "item": lambda: x[0].item(),
        "bool": lambda: bool(x[0] > 2),
        "cpu": lambda: x.cpu(),
        "tolist": lambda: x.tolist(),
        "a number that goes there": lambda: torch.tensor(3.0).to(DEVICE),
        "equal": lambda: torch.equal(x, x),
        "mask": lambda: x[x > 0.5],
        "nonzero": lambda: x.nonzero(),
        "masked_select": lambda: x.masked_select(x > 0.5),
        "unique": lambda: x.unique(),
        "repeat_interleave": lambda: x.repeat_interleave(there),
        "bincount": lambda: there.bincount(),
        "index on the CPU": lambda: x[torch.tensor([0, 1])],
    }
    counts = {}
    for name, call in calls.items():
        WAITS.clear()
        call()
        counts[name] = sum(WAITS.values())
    return counts


def refused() -> dict[str, str]:
    """Return what is said of tensors on two devices, and of numpy."""
    here, there = torch.randn(4, 3), torch.randn(4, 3, device=DEVICE)
    said = {}
    for name, call in {
        "torch": lambda: here + there,
        "numpy": lambda: there.numpy(),
        "nt_xent": lambda: mmlite.nt_xent(here, there),
        "knn_accuracy": lambda: mmlite.knn_accuracy(
            here, torch.arange(4), there, torch.arange(4).to(DEVICE), k=1
        ),
    }.items():
        try:
            call()
        except (RuntimeError, TypeError, ValueError) as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


class Fused(torch.optim.AdamW):
    """What `fit` takes on a GPU, on the CPU too: so that both devices round alike."""

    def __init__(self, parameters, **options) -> None:
        super().__init__(parameters, **options | {"fused": True})


def main() -> None:
    torch.optim.AdamW = Fused
    # a CPU's own way to the loss of Barlow Twins: as right, but it rounds otherwise
    redundancy._Columns.of = lambda z1, z2: None
    watch.REFRESH = math.inf  # a look at the loss waits, and may
    assert isinstance(torch.zeros(1, device=DEVICE), Pretend)
    cases = {f"{m}, {s}, {p}": (m, s, p) for m, s, p in TRAINED}
    schedules = dict.fromkeys((m, s) for m, s, _ in TRAINED)
    told = {
        "trained": {
            name: {device.type: trained(*case, device) for device in (CPU, DEVICE)}
            for name, case in cases.items()
        },
        "measured": {device.type: measured(device) for device in (CPU, DEVICE)},
        "waits": {f"{m}, {s}": [waits(m, s, size) for size in (16, 8)] for m, s in schedules},
        "waits of a loss that looks": [waits("simclr", "paper", size, True) for size in (16, 8)],
        "seen to wait": seen_to_wait(),
        "refused": refused(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
