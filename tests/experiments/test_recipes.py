"""Recipes: what they promise is there, and numbers out of range are refused."""

import inspect
import math
import subprocess
import sys

import pytest

from mmlite import data, encoders
from mmlite.experiments.recipes import (
    ENCODERS,
    METHODS,
    PRECISIONS,
    RECIPES,
    SCHEDULES,
    Recipe,
    numbers,
)
from mmlite.training import precision


def test_the_promised_names_are_there():
    assert list(RECIPES) == [
        "fashion-laptop",
        "fashion-gpu",
        "cifar10",
        "cifar100",
        "stl10",
        "tiny-imagenet",
    ]
    assert set(METHODS) == {"simclr", "barlow-twins", "joint", "metamask"}
    assert SCHEDULES == ("paper", "lookahead")
    assert tuple(precision.AUTOCAST) == PRECISIONS


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_names_data_and_an_encoder_that_the_library_has(recipe):
    assert recipe.data == "fashion" or recipe.data in data.SOURCES
    assert inspect.isfunction(getattr(encoders, recipe.encoder))
    assert recipe.split == ("unlabeled" if recipe.data == "stl10" else "train")


def test_every_number_says_what_it_is():
    assert {one.name for one in numbers()} > {"epochs", "batch_size", "learning_rate"}
    assert all(one.metadata["about"] for one in numbers())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 2.5}, "epochs must be a whole number of at least 1, got 2.5"),
        ({"epochs": "8"}, "epochs must be a whole number of at least 1, got '8'"),
        ({"learning_rate": None}, "learning_rate must be a number greater than 0 .*, got None"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        (
            {"learning_rate": 0.0},
            "learning_rate must be a number greater than 0 and at most",
        ),
        ({"warmup": 5}, "warmup must be a number from 0 to 0.99, got 5"),
        ({"crop": 3}, "crop must be a number greater than 0 and at most 1, got 3"),
        ({"jitter": 2.5}, "jitter must be a number from 0 to 2, got 2.5"),
        ({"temperature": math.nan}, "temperature must be a finite number greater than 0, got nan"),
        (
            {"weight_decay": math.inf},
            r"weight_decay must be a number from 0 to 1e\+30, got inf",
        ),
        ({"encoder": "resnet99"}, f"encoder must be one of {', '.join(ENCODERS)}"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16, got 'float16'"),
    ],
)
def test_what_is_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RECIPES["cifar10"].replace(**change)
    assert RECIPES["cifar10"].replace(images=None).images is None


def test_recipes_do_not_wait_for_torch():
    code = "import sys, mmlite.experiments.recipes; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert isinstance(RECIPES["stl10"], Recipe)
