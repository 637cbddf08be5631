"""Every public function and class refuses wrong arguments in a sentence that names the argument.

A row of `CASES` has arguments that are right, and for each argument values that are not. A public
function without a row, or an argument without a wrong value, fails here.
"""

import importlib
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import mmlite
from mmlite.course import plots
from mmlite.data import ImageSet
from mmlite.experiments import costs, parts, recipes
from mmlite.mask_study import MaskStudy

TENSOR = torch.ones(3)
WHOLE = (2.5, 2.0, True, "3", None, math.nan, [3], TENSOR, np.array([3]), -1)
OPTIONAL_WHOLE = tuple(value for value in WHOLE if value is not None)
NUMBER = (True, "3", None, math.nan, [0.5], (0.5,), TENSOR, np.array([0.5]))
POSITIVE = (*NUMBER, -1.0, 0)
SEED = (*WHOLE, 2**63)
TEXT = (None, 3, b"x", ["x"])
FLAG = (None, "no", 2, TENSOR)
PATH = (3, b"x", "", ["x"], TENSOR)
CHOICE = (None, 3, "nothing of the kind", ["x"], TENSOR)
FUNCTION = (None, 3, "f", TENSOR)
MODULE = (None, "encoder", lambda x: x, nn.Linear, TENSOR)
# no matrix of floats
MATRIX = (
    *(None, "h", 3, [[1.0, 2.0], [3.0, 4.0]], np.ones((6, 4)), torch.ones(6), torch.ones(6, 4, 1)),
    *(torch.ones(6, 4).long(), torch.ones(6, 4, dtype=torch.complex64), torch.ones(6, 4).bool()),
    torch.ones(6, 4).to_sparse(),
)
LABELS = (
    *(None, "l", [0, 1, 0, 1, 0, 1], np.array([0, 1, 0, 1, 0, 1]), torch.arange(5)),
    *(torch.ones(6), torch.ones(6).int(), torch.arange(6) - 1, torch.ones(6, 1).long()),
)
IMAGES = (
    *(None, "x", [[1]], np.zeros((2, 1, 8, 8)), torch.zeros(8, 8), torch.zeros(2, 2, 8, 8)),
    *(torch.zeros(2, 1, 8, 8).long(), torch.full((2, 1, 8, 8), 2.0), torch.zeros(2, 1, 0, 8)),
)
IMAGE_SET = (None, "fashion", torch.zeros(6, 4), [1, 2], object(), ImageSet)
PAIR = (None, 3, "ab", TENSOR, (1.0,), (0.5, "x"), (math.nan, 1.0), (0.9, 0.1), (-1, 1))
DEVICE = (None, 3.5, "gpu", "cuda:99", TENSOR)
MAPPING = (None, 3, "x", [1], {}, {3: TENSOR})

H = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 0, 1, 0, 1])
SET = ImageSet(torch.zeros(6, 1, 8, 8, dtype=torch.uint8), Y, ("a", "b"))
STUDY = MaskStudy(torch.ones(2, 4).bool(), torch.ones(2, 6).bool(), torch.ones(6).bool())
READ = {"train_h": H, "train_labels": Y, "test_h": H, "test_labels": Y}
NOT_READ = {"train_h": MATRIX, "train_labels": LABELS, "test_h": MATRIX, "test_labels": LABELS}
LABELED = (None, 3, H, (H,), (H, Y, Y), "ab")
VIEWS = {"z1": H, "z2": H}
NO_VIEWS = {"z1": MATRIX, "z2": (*MATRIX, torch.ones(5, 4))}
PROTOCOL = Path(__file__).parents[1] / "benchmarks" / "trial" / "protocol.toml"
ACCOUNT = {"views": torch.stack([H, H]), "labels": Y, "temperature": 1.0, "normalize": True}
NO_ACCOUNT = {
    "views": (None, 3, "x", H, torch.stack([H]), torch.zeros(2, 6, 4), torch.ones(2, 6, 4) / 0),
    "labels": (None, 3, Y[:3], Y - 1, Y.float()),
    "temperature": POSITIVE,
    "normalize": FLAG,
}
UNLABELED, NOT_UNLABELED = (
    {name: value for name, value in given.items() if name != "labels"}
    for given in (ACCOUNT, NO_ACCOUNT)
)
RECIPE = recipes.RECIPES["fashion-laptop"].replace(images=64, batch_size=32, dim=8, epochs=1)
NO_RECIPE = (None, "cifar10", {"epochs": 3}, recipes.Recipe)
DRAWN = {"alt": "alt", "xlabel": "x", "ylabel": "y"}
UNDRAWN = {"alt": TEXT, "xlabel": TEXT, "ylabel": TEXT}

SEEN = torch.rand(3, 4), torch.rand(3, 4)
NO_SEEN = (
    *(None, 3, TENSOR, SEEN[0], (SEEN[0],), (SEEN[0], SEEN[0][:2]), (SEEN[0], None)),
    *((SEEN[0], SEEN[1].double()), (np.ones((3, 4)), np.ones((3, 4))), (TENSOR, TENSOR)),
)
MASK = mmlite.DimensionalMask(4)
PARTS = {"encoder": nn.Linear(4, 4), "head": nn.Linear(4, 3), "mask": MASK}
NO_PARTS = {
    **dict.fromkeys(("encoder", "head"), MODULE),
    "mask": (None, TENSOR, nn.ReLU(), mmlite.DimensionalMask(5)),
    "loss": FUNCTION,
}
ETA = (*NUMBER, -1.0, math.inf)
NO_SGD = (3, "sgd", torch.optim.Adam(PARTS["head"].parameters()), torch.optim.SGD([MASK.w]))
TRAINER = PARTS | {
    "contrastive_head": PARTS["head"],
    "redundancy_head": nn.Linear(4, 3),
    "mask_optimizer": torch.optim.SGD([MASK.w], 0.1),
    "views": lambda images, generator: (images, images),
}
del TRAINER["head"]
NO_TRAINER = {
    **dict.fromkeys(("encoder", "contrastive_head", "redundancy_head"), MODULE),
    "mask": (None, TENSOR, nn.ReLU()),
    "mask_optimizer": (None, 0.1, torch.optim.SGD),
    "views": FUNCTION,
    "redundancy_weight": ETA,
    **dict.fromkeys(("contrastive_loss", "redundancy_loss"), FUNCTION),
    "every": (*WHOLE, 0),
}

CASES = {
    "devices.device": ({}, {}),
    "data.ImageSet": (
        {"images": SET.images, "labels": Y, "classes": ("a", "b"), "name": "x", "nuisance": H},
        {
            "images": (None, [[1]], H, torch.zeros(6, 8, 8, dtype=torch.uint8), np.zeros(3)),
            "labels": (*LABELS[:-2], torch.arange(6)),
            "classes": (None, "ab", 2, ("a", 3)),
            "name": TEXT,
            "nuisance": (3, [[1.0]], TENSOR, torch.ones(5, 2), torch.ones(6, 2).long()),
        },
    ),
    "data.ImageSet.__getitem__": (
        {"index": 0},
        {"index": (None, "a", 1.5, True, (0, 1), [0.5], ["a"], H, torch.ones(2), [[0], [1, 2]])},
    ),
    "data.ImageSet.from_folder": (
        {"path": ".", "size": 8, "channels": 3},
        {
            "path": (*PATH, None),
            "size": (*OPTIONAL_WHOLE, 0),
            "channels": (None, 0, 2, "x", True, TENSOR),
        },
    ),
    "data.ImageSet.to": ({"device": "cpu"}, {"device": DEVICE}),
    "data.load": (
        {"name": "fashion", "split": "test", "size": 4, "seed": 0, "root": ".", "download": False},
        {
            "name": TEXT,
            "split": (*TEXT, "valid"),
            "size": (*OPTIONAL_WHOLE, 0, 2001),
            "seed": SEED,
            "root": (),  # of "fashion" it is not read; see below
            "download": FLAG,
        },
    ),
    "data.balanced_subset": (
        {"image_set": SET, "size": 2, "seed": 0},
        {"image_set": IMAGE_SET, "size": (*WHOLE, 0, 7), "seed": SEED},
    ),
    "data.plant_background": (
        {"image_set": SET, "strength": 0.5, "seed": 0},
        {"image_set": IMAGE_SET, "strength": (*NUMBER, -0.1, 1.1), "seed": SEED},
    ),
    "views.TwoViews": (
        {},
        {
            "crop": (*PAIR, (0.5, 2.0)),
            "ratio": PAIR,
            **dict.fromkeys(("flip", "jitter_probability", "gray"), (*NUMBER, -0.1, 1.1)),
            "jitter": (*NUMBER, -0.1, 2.1),
            "size": (*OPTIONAL_WHOLE, 0),
        },
    ),
    "views.TwoViews.__call__": (
        {"images": SET.images, "generator": None},
        {"images": IMAGES, "generator": (3, "x", np.random.default_rng(0))},
    ),
    "encoders.small_conv": ({"channels": 1, "dim": 4}, {"channels": (*WHOLE, 0), "dim": WHOLE}),
    "encoders.resnet18": ({"channels": 1, "dim": 4}, {"channels": (*WHOLE, 0), "dim": WHOLE}),
    "encoders.projector": (
        {"dim_in": 4, "dim_hidden": 4, "dim_out": 2},
        dict.fromkeys(("dim_in", "dim_hidden", "dim_out"), (*WHOLE, 0)),
    ),
    "encoders.encode": (
        {"encoder": nn.Flatten(), "image_set": SET, "batch_size": 4},
        {"encoder": MODULE, "image_set": (*IMAGE_SET, IMAGES[6]), "batch_size": (*WHOLE, 0)},
    ),
    "contrastive.nt_xent": (
        {**VIEWS, "temperature": 0.2},
        {**NO_VIEWS, "temperature": (*POSITIVE, math.inf)},
    ),
    "contrastive.alignment": (
        {**VIEWS, "alpha": 2.0},
        {**NO_VIEWS, "alpha": (*POSITIVE, math.inf)},
    ),
    "contrastive.uniformity": ({"z": H, "t": 2.0}, {"z": MATRIX, "t": (*POSITIVE, math.inf)}),
    "redundancy.cross_correlation": (VIEWS, NO_VIEWS),
    "redundancy.barlow_twins": (
        {**VIEWS, "off_diagonal": 0.1},
        {**NO_VIEWS, "off_diagonal": (*NUMBER, -1, math.inf)},
    ),
    "redundancy.redundancy": ({"h": H}, {"h": MATRIX}),
    "redundancy.effective_rank": ({"h": H, "center": False}, {"h": MATRIX, "center": FLAG}),
    "redundancy.rankme": (
        {"z": H, "epsilon": 0.0},
        {"z": MATRIX, "epsilon": (*NUMBER, -1, math.inf)},
    ),
    "evaluation.neighbors": (
        {"train_h": H, "query_h": H, "k": 2},
        {"train_h": MATRIX, "query_h": MATRIX, "k": (*WHOLE, 0, 7)},
    ),
    "evaluation.knn_accuracy": (
        {**READ, "k": 2, "temperature": 0.1},
        {**NOT_READ, "k": (*WHOLE, 0, 7), "temperature": POSITIVE},
    ),
    "evaluation.linear_probe_accuracy": (
        {**READ, "weight_decay": 1e-3, "standardize": False},
        {**NOT_READ, "weight_decay": (*POSITIVE, math.inf), "standardize": FLAG},
    ),
    "evaluation.few_label_accuracy": (
        {**READ, "per_class": 1, "draws": 1, "seed": 0, "weight_decay": 0.1, "standardize": True},
        {
            **NOT_READ,
            "per_class": (*WHOLE, 0, 4),
            "draws": (*WHOLE, 0),
            "seed": SEED,
            "weight_decay": POSITIVE,
            "standardize": FLAG,
        },
    ),
    "whitening.fit_whitening": (
        {"train_h": H, "shrinkage": 0.1},
        {"train_h": (*MATRIX, torch.ones(1, 4)), "shrinkage": (*NUMBER, -0.1, 1.1)},
    ),
    "pair_mask.fit_pair_mask": (
        {"h": H, "other": H.flip(0), "shrinkage": 0.1},
        {"h": (*MATRIX, torch.ones(1, 4)), "other": (*MATRIX, H), "shrinkage": (*NUMBER, -1, 2)},
    ),
    "pair_mask.learn_pair_mask": (
        {
            **{"h": H, "other": H.flip(0), "shrinkage": 0.1, "temperature": 0.5},
            **{"steps": 2, "batch_size": 4, "learning_rate": 0.1, "seed": 0},
        },
        {
            "h": (*MATRIX, torch.ones(1, 4)),
            "other": (*MATRIX, H),
            "shrinkage": (*NUMBER, -1, 2),
            "temperature": POSITIVE,
            "steps": (*WHOLE, 0),
            "batch_size": (*WHOLE, 1),
            "learning_rate": POSITIVE,
            "seed": SEED,
        },
    ),
    "statistics.paired_difference": (
        {"a": [1.0, 2.0], "b": [1.0, 3.0], "confidence": 0.9},
        {
            "a": (None, 3, "ab", [1.0], [1.0, None], [1.0, "2"], [1.0, math.nan], H),
            "b": (None, 3, "ab", [1.0], [1.0, None], [True, False], [1.0, math.inf], np.array(1)),
            "confidence": (*NUMBER, 0, 1),
        },
    ),
    "statistics.sign_flip_test": (
        {"a": [1.0, 2.0], "b": [1.0, 3.0], "alternative": "less"},
        {
            "a": (None, 3, "ab", [1.0], [1.0, None], [1.0, math.nan], H),
            "b": (None, 3, "ab", [1.0], [True, False], [1.0, math.inf]),
            "alternative": CHOICE,
        },
    ),
    "statistics.equivalence_test": (
        {"a": [1.0, 2.0], "b": [1.0, 3.0], "margin": 0.5},
        {
            "a": (None, 3, "ab", [1.0], [1.0, None], [1.0, math.nan], H),
            "b": (None, 3, "ab", [1.0], [True, False], [1.0, math.inf]),
            "margin": (*POSITIVE, math.inf),
        },
    ),
    "statistics.power": (
        {"effect": 0.5, "deviation": 1.0, "seeds": 5, "level": 0.05},
        {
            "effect": (*NUMBER, math.inf),
            "deviation": (*POSITIVE, math.inf),
            "seeds": (*WHOLE, 1),
            "level": (*NUMBER, 0, 1),
        },
    ),
    "statistics.holm": (
        {"p_values": [0.1, 0.2]},
        {"p_values": (None, 3, "ab", [], [0.1, None], [0.1, 1.1], [-0.1], [math.nan], H)},
    ),
    "confounders.class_r2": ({"h": H, "labels": Y}, {"h": MATRIX, "labels": LABELS}),
    "confounders.nuisance_r2": (
        {"h": H, "nuisance": H[:, :2]},
        {"h": MATRIX, "nuisance": (*MATRIX, H[:5])},
    ),
    "mask_study.top_mask": (
        {"scores": TENSOR, "share": 0.5},
        {
            "scores": (None, [1.0], np.ones(3), H, TENSOR * math.nan, TENSOR[:0]),
            "share": (*POSITIVE, 1.1),
        },
    ),
    "mask_study.random_masks": (
        {"dim": 4, "share": 0.5, "masks": 2, "seed": 0},
        {"dim": (*WHOLE, 0), "share": (*POSITIVE, 1.1), "masks": (*WHOLE, 0), "seed": SEED},
    ),
    "mask_study.mask_accuracy": (
        READ | {"masks": H > -9, "k": 2, "temperature": 0.1},
        NOT_READ
        | {
            "masks": (None, [[True] * 4], H, np.ones((1, 4), bool), H[0] > 0, H[:, 1:] > -9),
            "k": (*WHOLE, 0, 7),
            "temperature": POSITIVE,
        },
    ),
    "mask_study.random_mask_study": (
        READ | {"share": 0.5, "masks": 2, "seed": 0, "k": 2, "temperature": 0.1},
        NOT_READ
        | {
            "share": (*POSITIVE, 1.1),
            "masks": (*WHOLE, 0),
            "seed": SEED,
            "k": (*WHOLE, 0, 7),
            "temperature": POSITIVE,
        },
    ),
    "mask_study.chance_shares": (
        {"study": STUDY, "draws": 2, "seed": 0},
        {"study": (None, 3, H, tuple(STUDY)), "draws": (*WHOLE, 0), "seed": SEED},
    ),
    "mask_study.split_gain": (
        {"study": STUDY, "splits": 2, "seed": 0},
        {"study": (None, 3, H, tuple(STUDY)), "splits": (*WHOLE, 0), "seed": SEED},
    ),
    "costs.convolution_cost": (
        dict.fromkeys(("images", "channels_in", "channels_out", "height", "width"), 4),
        dict.fromkeys(
            ("images", "channels_in", "channels_out", "height", "width", "kernel", "stride"),
            (*WHOLE, 0),
        ),
    ),
    "costs.layer_cost": (
        {"layer": nn.ReLU(), "x": H, "y": H},
        {"layer": MODULE, "x": (None, [1.0]), "y": (None, [1.0])},
    ),
    "costs.layer_times": (
        {"module": nn.ReLU(), "x": H, "repeats": 1},
        {"module": MODULE, "x": (None, [1.0], np.ones(3)), "repeats": (*WHOLE, 0)},
    ),
    "costs.profile_calls": ({"run": lambda: torch.ones(1)}, {"run": FUNCTION}),
    "costs.count_flops": ({"run": lambda: torch.ones(1)}, {"run": FUNCTION}),
    "costs.measure_limits": ({}, {"device": DEVICE, "repeats": (*WHOLE, 0)}),
    "costs.ring_seconds": (
        {"message": 8.0, "processes": 2, "bytes_per_second": 1.0, "latency": 0.0},
        {
            "message": (*NUMBER, -1),
            "processes": (*WHOLE, 0),
            "bytes_per_second": POSITIVE,
            "latency": (*NUMBER, -1),
        },
    ),
    "costs.exchanges": (
        {"processes": 2, "batch": 8, "projection": 4, "parameters": 9, "norms": [3]},
        {
            **dict.fromkeys(("processes", "batch", "projection"), (*WHOLE, 0)),
            "parameters": WHOLE,
            "norms": (None, 3, "3", [2.5], [0], [True]),
        },
    ),
    "picture.Picture": (
        {"figure": Figure(), "alt": "alt"},
        {"figure": (None, "x", H), "alt": TEXT},
    ),
    "plots.image_grid": (
        {"images": SET.images, "columns": 3, "alt": "alt", "titles": ["a"], "scale": 0.5},
        {
            "images": IMAGES,
            "columns": (*WHOLE, 0),
            "alt": TEXT,
            "titles": (None, 3, "ab", [3]),
            "scale": POSITIVE,
        },
    ),
    "plots.matrices": (
        {"named": {"a": H}, "alt": "alt", "least": -1.0},
        {
            "named": (*MAPPING, {"a": [[1.0]]}, {"a": TENSOR}),
            "alt": TEXT,
            "least": (*NUMBER, -2, 1),
        },
    ),
    "plots.histogram": (
        {"values": TENSOR, "xlabel": "x", "alt": "alt", "references": {"a": 1.0}, "title": ""},
        {
            "values": (None, [1.0], H, TENSOR * math.nan, np.ones(3)),
            "xlabel": TEXT,
            "alt": TEXT,
            "references": (None, 3, [1.0], {"a": "b"}, {"a": math.nan}),
            "title": TEXT,
        },
    ),
    "plots.points": (
        {"series": {"a": (TENSOR, TENSOR)}, **DRAWN},
        {
            "series": (*MAPPING, {"a": TENSOR}, {"a": (TENSOR, [1.0])}, {"a": (TENSOR, H[0])}),
            **UNDRAWN,
        },
    ),
    "plots.lines": (
        {"x": [1, 2], "series": {"a": [1.0, 2.0]}, "log": "", **DRAWN},
        {
            "x": (None, 3, "ab", ["a", "b"]),
            "series": (*MAPPING, {"a": [1.0]}, {"a": None}, {"a": ["a", "b"]}),
            "log": (None, "z", 3, True),
            **UNDRAWN,
        },
    ),
    "plots.roofline": (
        {"limits": costs.MachineLimits(1.0, 1.0), "points": {"a": [(1.0, 1.0)]}, "alt": "alt"},
        {
            "limits": (None, (1.0, 1.0), 3),
            "points": (None, 3, [1], {"a": 3}, {"a": [1.0]}, {"a": [("a", "b")]}),
            "alt": TEXT,
        },
    ),
    "plots.landscape": (
        {"function": lambda p: p.sum(1), "paths": {"a": H[:, :2]}, **DRAWN},
        {
            "function": FUNCTION,
            "paths": (None, 3, [1], {"a": TENSOR}, {"a": [[1, 2]]}, {"a": H[:1, :2]}),
            "span": (None, 3, (1.0,), ("a", "b"), (math.nan, 1.0)),
            "title": TEXT,
            **UNDRAWN,
        },
    ),
    "plots.bars": (
        {
            "values": {"a": 1.0},
            "ylabel": "y",
            "alt": "alt",
            "references": {"a": 1.0},
            "errors": [0.1],
        },
        {
            "values": (*MAPPING[:-1], {"a": "b"}, {"a": math.nan}),
            "ylabel": TEXT,
            "alt": TEXT,
            "references": ("a", 1.0, {"a": math.nan}, {3: 1.0}, H),
            "errors": (3, "a", ["a"], [0.1, 0.2]),
        },
    ),
    "widgets.Dial": (
        {"function": lambda: None, "text": "text"},
        {"function": FUNCTION, "text": TEXT, "sliders": ()},  # of any name: test_plots
    ),
    "widgets.push_shares": (
        {"similarity": TENSOR, "temperature": 0.1},
        {"similarity": (None, [1.0], H, TENSOR[:0]), "temperature": POSITIVE},
    ),
    "widgets.planted_views": (
        {"garments": SET, "strength": 0.5, "jitter": 0.0},
        {
            "garments": IMAGE_SET,
            "strength": (*NUMBER, -0.1, 1.1),
            "jitter": (*NUMBER, -0.1, 2.1),
        },
    ),
    "recipes.Recipe": (
        {"name": "x", "about": "x", "data": "fashion"},
        {
            **dict.fromkeys(("name", "about", "data", "split"), TEXT),
            "background": (True, "x", -0.1, 1.1, TENSOR),
            **dict.fromkeys(("encoder", "precision"), CHOICE),
            "images": (*OPTIONAL_WHOLE, 3),
            **dict.fromkeys(("dim", "hidden", "projection", "epochs", "batch_size"), (*WHOLE, 0)),
            **dict.fromkeys(
                ("learning_rate", "crop", "temperature", "mask_learning_rate"),
                (*POSITIVE, math.inf),
            ),
            **dict.fromkeys(
                (
                    *("weight_decay", "warmup", "jitter", "gray", "redundancy_weight"),
                    *("off_diagonal", "virtual_lr"),
                ),
                (*NUMBER, -1, math.inf),
            ),
        },
    ),
    "recipes.numbers": ({}, {}),
    "parts.build": (
        {"recipe": RECIPE, "method": "simclr"},
        {
            "recipe": NO_RECIPE,
            "method": CHOICE,
            "schedule": CHOICE,
            "seed": SEED,
            "channels": (*WHOLE, 0),
            "where": DEVICE,
            "gradient": CHOICE,
            "outer_views": (3, "x"),
        },
    ),
    "parts.views_of": ({"recipe": RECIPE}, {"recipe": NO_RECIPE}),
    "runs.train": (
        {"recipe": RECIPE, "method": "simclr"},
        {
            "recipe": NO_RECIPE,
            "method": CHOICE,
            "out": PATH,
            "schedule": CHOICE,
            "seed": SEED,
            **dict.fromkeys(("resume", "progress", "download", "sync_batch_norm", "compile"), FLAG),
            "checkpoint_every": (*OPTIONAL_WHOLE, 0),
        },
    ),
    "runs.evaluate": ({"checkpoint": "x"}, {"checkpoint": (*PATH, None), "tell": FUNCTION}),
    "parts.images_of": (
        {"recipe": RECIPE, "split": "test"},
        {"recipe": NO_RECIPE, "split": (*TEXT, "valid"), "download": FLAG},
    ),
    "runs.accuracies": (
        {"recipe": RECIPE, "parts": parts.build(RECIPE, "simclr"), "seed": 0},
        {"recipe": NO_RECIPE, "parts": (None, 3, nn.ReLU()), "seed": SEED},
    ),
    "metamask.DimensionalMask": (
        {"dim": 4, "start": 0.0},
        {"dim": (*WHOLE, 0), "start": (*NUMBER, math.inf)},
    ),
    "metamask.masked_loss": (PARTS | {"views": SEEN}, NO_PARTS | {"views": NO_SEEN}),
    "metamask.virtual_step": (
        PARTS | {"views": SEEN, "virtual_lr": 0.1},
        NO_PARTS | {"views": NO_SEEN, "virtual_lr": ETA, "optimizer": NO_SGD},
    ),
    "metamask.meta_gradient": (
        PARTS | {"views": SEEN, "virtual_lr": 0.1},
        NO_PARTS
        | {
            "views": NO_SEEN,
            "virtual_lr": ETA,
            "method": CHOICE,
            "outer_views": NO_SEEN[1:],
            "optimizer": NO_SGD,
            "finite_step": (*POSITIVE, math.inf),
        },
    ),
    "metamask.MetaMask": (
        TRAINER,
        NO_TRAINER
        | {
            "virtual_lr": tuple(value for value in ETA if value is not None),
            "copy_optimizer": FLAG,
            "method": CHOICE,
            "outer_views": FUNCTION[1:],
        },
    ),
    "metamask.LookaheadMetaMask": (
        TRAINER,
        NO_TRAINER | {"clip_norm": tuple(v for v in (*POSITIVE, math.inf) if v is not None)},
    ),
    "training.fit": (
        {"model": nn.Flatten(), "loss": lambda *_: None, "images": SET, "epochs": 1}
        | {"batch_size": 2},
        {
            "model": MODULE,
            "loss": FUNCTION,
            "images": IMAGE_SET,
            "epochs": (*WHOLE, 0),
            "batch_size": (*OPTIONAL_WHOLE, 1, 7),
            "accumulate": (*WHOLE, 0, 3),
            "clip_norm": (*(value for value in POSITIVE if value is not None), math.inf),
            "learning_rate": (*POSITIVE, math.inf),
            "weight_decay": (*NUMBER, -1.0, math.inf),
            "warmup": (*NUMBER, -0.1, 1.0),
            "seed": SEED,
            **dict.fromkeys(("before_step", "after_step", "on_epoch"), FUNCTION[1:]),
            **dict.fromkeys(("optimizer", "schedule"), FUNCTION[1:]),
            "progress": (None, 2, TENSOR),  # a string is a title
            "compile": FLAG,
            "history": (3, [1.0], "x"),
            "checkpoint": PATH,
            "description": (3, "x", ["x"]),
            "precision": CHOICE,
        },
    ),
    "training.parameter_groups": (
        {"model": nn.Linear(2, 2), "weight_decay": 0.1},
        {"model": MODULE, "weight_decay": (*NUMBER, -1.0, math.inf)},
    ),
    "training.Checkpointing": (
        {"path": "last.pt"},
        {
            "path": (*PATH, None),
            "every": (*OPTIONAL_WHOLE, 0),
            "resume": FLAG,
            "longer": (*FLAG, True),
            "extra_state": (3, "x", [nn.ReLU()], {"x": 3}),
        },
    ),
    "theory.risk_account": (ACCOUNT, NO_ACCOUNT),
    "theory.risk_bounds": (ACCOUNT, NO_ACCOUNT),
    "theory.label_consistency": (ACCOUNT, NO_ACCOUNT),
    "theory.mask_claims": (
        ACCOUNT | {"mask": torch.ones(4)},
        NO_ACCOUNT | {"mask": (None, 3, "x", torch.ones(3), torch.ones(4) / 0)},
    ),
    "theory.negatives_gap": (
        UNLABELED | {"negatives": 2},
        NOT_UNLABELED | {"negatives": (*WHOLE, 0)},
    ),
    "theory.nt_xent_offset": (
        {"views": ACCOUNT["views"], "temperature": 0.2},
        {"views": (*NO_ACCOUNT["views"], torch.ones(3, 6, 4)), "temperature": POSITIVE},
    ),
    "theory.least_risk": (
        {"classes": 3, "temperature": 1.0},
        {"classes": (*WHOLE, 0), "temperature": POSITIVE},
    ),
    "training.warmup_cosine": (
        {"step": 0, "total": 4, "warmup": 0.1},
        {"step": (), "total": (), "warmup": ()},  # of the loop's own numbers
    ),
    "tables.table": (
        {"rows": {"a": {"b": 1.0}}, "form": ".3f"},
        {"rows": (*MAPPING, {"a": 1.0}, {"a": {"b": None}}), "form": (*TEXT, "s")},
    ),
    "forest.forest": (
        {
            "differences": {"a": (0.0, -1.0, 1.0)},
            "xlabel": "x",
            "alt": "alt",
            "margin": 1.0,
            "shown": 1,
        },
        {
            "differences": (*MAPPING, {"a": 1.0}, {"a": (None, 0.0, 1.0)}),
            "xlabel": TEXT,
            "alt": TEXT,
            "margin": (True, "x", math.nan, TENSOR, 0),
            "shown": (*WHOLE, 2),
        },
    ),
    "waterfall.waterfall": (
        {"accounts": {"a": {"L": 1.0}}, "total": "CE", "alt": "alt"},
        {
            "accounts": (*MAPPING, {"a": 1.0}, {"a": {"L": None}}, {"a": {}}),
            "total": TEXT,
            "alt": TEXT,
        },
    ),
    "protocol_file.read_protocol": ({"path": "x"}, {"path": (None, 3)}),
    "run.run_study": (
        {"protocol": PROTOCOL, "folder": "x"},
        {
            "protocol": (None, 3),
            "folder": (None, 3),
            "jobs": (*WHOLE, 0),
            "only": ("nobody", ["nobody"], [3]),
            "progress": FLAG,
        },
    ),
    "devices.machine": ({}, {}),
    "claims.claim": (
        {"statement": "x", "value": 1.0, "at_least": 0.0, "at_most": 2.0},
        {
            "statement": (None, 3, "two\nlines"),
            "value": (True, None, "x", TENSOR),
            "at_least": (True, "x", math.nan, TENSOR),
            "at_most": (True, "x", math.nan, TENSOR),
        },
    ),
}

# What is there for the library's own modules, which check before they call, or makes a record of
# what was computed: a wrong value of these is no user's.
INNER = {
    "claims.masked",
    *("theory.RiskAccount", "theory.RiskBounds", "theory.MaskClaims"),
    "metamask.MaskTrainer",
    *("training.TrainingError", "training.CheckpointError", "training.History"),
    "training.StopTraining",
    *("plots.array", "plots.axes_of", "plots.legend_above", "recipes.is_whole"),
    *("protocol_file.ProtocolError", "data.check_image_set", "views.check_range", "views.triangle"),
    *("encoders.ChannelsLast", "encoders.uncompiled", "contrastive.check_pair"),
    *("contrastive.check_temperature", "contrastive.check_finite", "contrastive.NotFiniteError"),
    *("evaluation.frozen", "evaluation.vote", "evaluation.topk", "evaluation.check_features"),
    *("evaluation.check_labeled", "evaluation.alike", "whitening.Whitening", "statistics.Interval"),
    *("whitening.applied", "whitening.in_float64", "pair_mask.PairMask"),
    *("mask_study.MaskStudy", "mask_study.SplitGain", "costs.Cost", "costs.MachineLimits"),
    *("costs.LayerTime", "costs.Calls", "parts.Parts", "runs.Accuracies", "runs.Run"),
    *(
        "runs.describe",
        "parts.channels_of",
        "parts.check_recipe",
        "parts.fit_parts",
        "claims.Claim",
    ),
    "claims.read_claims",
}
MODULES = (
    *("devices", "data", "views", "encoders", "contrastive", "redundancy", "evaluation"),
    *("whitening", "statistics", "confounders", "mask_study", "pair_mask"),
    *("costs", "picture", "plots", "forest", "waterfall", "tables", "widgets"),
    *("recipes", "parts", "runs"),
    *("claims", "protocol_file", "run"),
    *("metamask", "training", "theory"),
)
HOMES = {
    **dict.fromkeys(("costs", "recipes", "parts", "runs"), "experiments."),
    **dict.fromkeys(("protocol_file", "run"), "experiments.study."),
    **dict.fromkeys(
        ("picture", "plots", "forest", "waterfall", "tables", "widgets", "claims"), "course."
    ),
    "devices": "support.",
}
LATER = {"check", "progress", "reveal"}  # tests/exercises/ has what they say


def home(module):
    """Return where a module lies."""
    return f"mmlite.{HOMES.get(module, '')}{module}"


def called(name):
    """Return the function or class of a row, a method bound to something to call it on."""
    module, first, *rest = name.split(".")
    thing = getattr(importlib.import_module(home(module)), first)
    if not rest:
        return thing
    return getattr(SET if first == "ImageSet" else thing(), rest[0])


@pytest.mark.parametrize(
    ("name", "argument"), [(name, argument) for name in CASES for argument in CASES[name][1]]
)
def test_a_wrong_argument_is_refused_in_a_sentence_that_names_it(name, argument):
    right, wrong = CASES[name]
    for value in wrong[argument]:
        told = refusal(called(name), right | {argument: value})
        assert re.search(rf"\b{argument}\b", told), (value, told)


def refusal(function, arguments):
    try:
        function(**arguments)
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def public(module):
    """Return the names of the functions and classes that a module defines for others."""
    place = home(module)
    things = vars(importlib.import_module(place)).items()
    return {
        f"{module}.{name}"
        for name, thing in things
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and (thing.__module__ == place or thing.__module__.startswith(f"{place}."))
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_and_class_has_a_row(module):
    assert public(module) <= CASES.keys() | INNER
    rows = {".".join(name.split(".")[:2]) for name in CASES if name.startswith(f"{module}.")}
    assert rows <= public(module)
    assert {name for name in INNER if name.startswith(f"{module}.")} <= public(module)


def test_every_name_of_the_package_has_a_row():
    rows = {name.split(".")[1] for name in CASES}
    assert set(mmlite.__all__) - LATER <= rows
    assert set(mmlite.__all__) >= LATER


@pytest.mark.parametrize("name", CASES)
def test_every_argument_has_a_wrong_value(name):
    arguments = set(inspect.signature(called(name)).parameters)
    assert set(CASES[name][1]) == arguments


@pytest.mark.parametrize("value", [3, b"x", "", ["x"], TENSOR])
def test_a_root_that_is_no_path_is_refused(value):
    with pytest.raises(ValueError, match="root must be"):
        mmlite.load("cifar10", "train", root=value)


# NumPy's numbers are numbers


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_whole_numbers_of_numpy_are_taken_everywhere(kind):
    read = (H, Y, H, Y)
    assert len(mmlite.load("fashion", "test", size=kind(4), seed=kind(1))) == 4
    assert mmlite.TwoViews(size=kind(4))(SET.images)[0].shape == (6, 1, 4, 4)
    assert mmlite.small_conv(kind(1), kind(8))(torch.rand(2, 1, 8, 8)).shape == (2, 8)
    assert mmlite.encode(nn.Flatten(), SET, batch_size=kind(4)).shape == (6, 64)
    assert mmlite.knn_accuracy(*read, k=kind(2)) == mmlite.knn_accuracy(*read, k=2)
    few = mmlite.few_label_accuracy(*read, per_class=kind(1), draws=kind(2), seed=kind(1))
    assert few == mmlite.few_label_accuracy(*read, per_class=1, draws=2, seed=1)
    study = mmlite.random_mask_study(*read, masks=kind(3), seed=kind(2), k=kind(2))
    assert study.masks.shape == (3, 4)
    assert mmlite.chance_shares(study, draws=kind(3), seed=kind(0)).shape == (3,)
    assert mmlite.plant_background(SET, np.float32(0.5), seed=kind(1)).nuisance.shape == (6, 30)
    recipe = RECIPE.replace(epochs=kind(3), learning_rate=np.float32(0.5))
    assert type(recipe.epochs) is int
    assert type(recipe.learning_rate) is float
    assert plots.image_grid(SET.images, kind(3), "alt").png
