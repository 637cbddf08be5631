"""What a trained encoder and its mask are worth, read in several ways.

A reading is what is done to the representation; a reader is what then classifies.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmlite.confounders import class_r2, nuisance_r2
from mmlite.data import ImageSet
from mmlite.encoders import encode
from mmlite.evaluation import few_label_accuracy, knn_accuracy, linear_probe_accuracy
from mmlite.experiments.study.protocol import READERS
from mmlite.metamask.mask import shuffled
from mmlite.redundancy import effective_rank
from mmlite.whitening import fit_whitening

Change = Callable[[Tensor], Tensor]


class CollapseError(RuntimeError):
    """Every image has the same representation, so that there is nothing to read."""


def read(
    encoder: nn.Module, mask: Tensor | None, train_set: ImageSet, test_set: ImageSet, seed: int
) -> dict[str, Any]:
    """Return all readings by all readers, the effective rank, and what the mask goes by.

    Args:
        encoder: from images to h [N, D].
        mask: entries [D], or None.
        train_set: labeled, what the readers know.
        test_set: what they are asked.
        seed: of the shuffle and of the choice of few labels.

    Returns:
        `readings` by reader and reading, accuracies 0..1; `effective rank` of h; with a mask
        `mask`: its least and greatest entry, and its correlation over dimensions with class R²,
        nuisance R² (if a nuisance is known) and the deviation of h; None for a mask whose entries
        are all alike.

    Raises:
        CollapseError: every image has the same representation.
    """
    h, fresh = encode(encoder, train_set), encode(encoder, test_set)
    readings: dict[str, dict[str, float]] = {reader: {} for reader in READERS}
    of_class = len(train_set) / len(train_set.classes)
    for reading, change in _changes(h, mask, seed).items():
        known, asked = change(h), change(fresh)
        labels = train_set.labels, test_set.labels
        readings["kNN"][reading] = _short(knn_accuracy(known, labels[0], asked, labels[1]))
        known, asked = at_one_scale(known, asked)
        labeled = known, labels[0], asked, labels[1]
        readings["probe"][reading] = _short(linear_probe_accuracy(*labeled, standardize=False))
        for share in (1, 10):
            accuracy = few_label_accuracy(
                *labeled,
                per_class=max(1, round(share / 100 * of_class)),
                seed=seed,
                standardize=False,
            )
            readings[f"{share} % labels"][reading] = _short(accuracy)
    found = {"readings": readings, "effective rank": _short(effective_rank(h))}
    return found if mask is None else found | {"mask": _followed(mask, h, train_set)}


def read_for_tuning(
    encoder: nn.Module, mask: Tensor | None, train_set: ImageSet, test_set: ImageSet, seed: int
) -> dict[str, Any]:
    """Return `readings` as `read`, by kNN alone and without whitening."""
    h, fresh = encode(encoder, train_set), encode(encoder, test_set)
    changes = _changes(h, mask, seed)
    return {
        "readings": {
            "kNN": {
                reading: _short(
                    knn_accuracy(change(h), train_set.labels, change(fresh), test_set.labels)
                )
                for reading, change in changes.items()
                if reading in ("whole", "masked", "shuffled")
            }
        }
    }


def _changes(h: Tensor, mask: Tensor | None, seed: int) -> dict[str, Change]:
    """Return what each reading does to representations; fitted to those of training, h [N, D]."""
    mean, deviation = h.mean(0), h.std(0)
    size = torch.where(deviation > 0, deviation, 1)  # a dead dimension stays 0
    try:
        white = fit_whitening(h)
    except ValueError as error:
        raise CollapseError(f"the representation has collapsed: {error}") from error
    changes: dict[str, Change] = {
        "whole": lambda h: h,
        "standardized": lambda h: (h - mean) / size,
        "whitened": lambda h: white(h),
    }
    if mask is None:
        return changes
    other = shuffled(mask, seed)
    return changes | {
        "masked": lambda h: h * mask,
        "shuffled": lambda h: h * other,
        "whitened, masked": lambda h: white(h) * mask,
    }


def at_one_scale(known: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Return features of training and of others times one number, by which a probe's weight decay
    means the same for all: the mean variance of the training features' dimensions is 1.
    """
    scale = known.var(0).mean().rsqrt()
    return known * scale, asked * scale


def _followed(mask: Tensor, h: Tensor, train_set: ImageSet) -> dict[str, float | None]:
    """Return the mask's ends, and its correlation with what it may go by."""
    found = {"least": _short(float(mask.min())), "greatest": _short(float(mask.max()))}
    others = {"class R²": class_r2(h, train_set.labels), "deviation": h.std(0)}
    if train_set.nuisance is not None:
        others["nuisance R²"] = nuisance_r2(h, train_set.nuisance)
    return found | {name: _correlation(mask, other) for name, other in others.items()}


def _correlation(a: Tensor, b: Tensor) -> float | None:
    if float(a.std()) == 0 or float(b.std()) == 0:
        return None
    return _short(float(torch.corrcoef(torch.stack([a, b]))[0, 1]))


def _short(value: float) -> float:
    """Return a number with the digits that a line of the results holds."""
    return round(value, 5)
