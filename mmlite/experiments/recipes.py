"""Recipes: what to train on, with which network and numbers, by name.

A recipe is data alone, so that the command line can list them without waiting for PyTorch;
`mmlite.experiments.runs` trains one. Another value for a run is a copy of the recipe:

    RECIPES["cifar10"].replace(epochs=800, batch_size=1024)

`fashion-laptop` has the numbers of lessons 02 and 04. The others put that on ResNet-18 and larger
sets with the sizes that are usual there (SimCLR, Chen et al. 2020, appendix B.9); none of their
accuracies has been measured yet.
"""

from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, get_args

from mmlite.support import checks

METHODS = {
    "simclr": "NT-Xent alone",
    "barlow-twins": "Barlow Twins alone",
    "joint": "NT-Xent + redundancy_weight · Barlow Twins, all dimensions alike",
    "metamask": "the same, seen through a mask that meta-learning moves",
}
SCHEDULES = ("paper", "lookahead")
ENCODERS = ("small_conv", "resnet18")
PRECISIONS = ("float32", "bfloat16")


TEXTS = ("name", "about", "data", "split")


def _number(default: float | None, about: str, least: float | None = 0, **bounds: float | None):
    """Return a field that the command line can set, within bounds as `checks` has them."""
    if "above" not in bounds:
        bounds["least"] = least
    return field(default=default, metadata={"about": about, **bounds})


@dataclass(frozen=True)
class Recipe:
    """A run but for its method and seed.

    Attributes:
        name, about: what the recipe is called, and a line on it.
        data: the data set, for `mmlite.load`.
        split: what is trained on; the accuracies are always of "train" and "test".
        background: strength of a planted background, or None for the images as they are.
        encoder: "small_conv" or "resnet18".
        precision: "float32" or "bfloat16", see `mmlite.fit`.
        images, epochs, ...: see `mmlite train --help`.

    Raises:
        ValueError: a number is out of its range, or the encoder or precision unknown.
    """

    name: str
    about: str
    data: str
    split: str = "train"
    background: float | None = None
    encoder: str = "resnet18"
    precision: str = "float32"
    images: int | None = _number(None, "training images, the classes as equal as can be", 4)
    dim: int = _number(512, "width D of the representation", 1)
    hidden: int = _number(512, "width of the heads' hidden layer", 1)
    projection: int = _number(128, "width P of the projections", 1)
    epochs: int = _number(200, "passes over the images", 1)
    batch_size: int = _number(512, "images in a batch, of all processes together", 2)
    learning_rate: float = _number(1e-3, "AdamW's, at its peak", above=0, most=1e30)
    weight_decay: float = _number(1e-4, "AdamW's", most=1e30)
    warmup: float = _number(
        0.05, "share of the steps over which the learning rate rises", most=0.99
    )
    crop: float = _number(0.2, "smallest share of an image that a view keeps", above=0, most=1)
    jitter: float = _number(0.4, "strength of the views' color jitter", most=2)
    gray: float = _number(0.2, "probability that a view is made gray", most=1)
    temperature: float = _number(0.2, "τ of NT-Xent", above=0)
    redundancy_weight: float = _number(0.02, "α, the weight of Barlow Twins in joint and metamask")
    off_diagonal: float = _number(0.05, "λ of Barlow Twins")
    mask_learning_rate: float = _number(0.05, "Adam's, of the mask's logits", above=0, most=1e30)
    virtual_lr: float = _number(0.1, "η, the virtual step of the schedule paper")

    def __post_init__(self) -> None:
        own: dict[str, Any] = {name: checks.text(name, getattr(self, name)) for name in TEXTS}
        for name, known in (("encoder", ENCODERS), ("precision", PRECISIONS)):
            own[name] = checks.choice(name, getattr(self, name), known)
        if self.background is not None:
            own["background"] = checks.real("background", self.background, least=0, most=1)
        for one in numbers():
            value, bounds = getattr(self, one.name), dict(one.metadata)
            del bounds["about"]
            if value is None and one.default is None:
                continue
            check = checks.whole if is_whole(one) else checks.real
            own[one.name] = check(one.name, value, **bounds)
        for name, value in own.items():  # Python's own values, in a dataclass that is frozen
            object.__setattr__(self, name, value)

    def replace(self, **changes) -> "Recipe":
        """Return the same recipe with other values."""
        return replace(self, **changes)


def numbers() -> list[Field]:
    """Return the fields of a recipe that the command line can set."""
    return [one for one in fields(Recipe) if "about" in one.metadata]


def is_whole(one: Field) -> bool:
    """Whether a field of a recipe holds a whole number (or None), by its annotation."""
    return int in (one.type, *get_args(one.type))


_LAPTOP: dict[str, Any] = {
    "encoder": "small_conv",
    "dim": 128,
    "hidden": 256,
    "projection": 64,
    "batch_size": 128,
    "learning_rate": 2e-3,
    "warmup": 0.1,
    "crop": 0.4,
    "jitter": 0.8,
    "off_diagonal": 0.1,
}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "fashion-laptop",
            "5,000 garments before planted backgrounds, a small network: minutes on 2 CPU cores",
            "fashion",
            background=0.25,
            images=5000,
            epochs=8,
            **_LAPTOP,
        ),
        Recipe(
            "fashion-gpu",
            "all 10,000 shipped garments before planted backgrounds, ResNet-18",
            "fashion",
            background=0.25,
            epochs=100,
            jitter=0.8,
        ),
        Recipe("cifar10", "CIFAR-10, ResNet-18 with the CIFAR stem", "cifar10"),
        Recipe("cifar100", "CIFAR-100, ResNet-18 with the CIFAR stem", "cifar100"),
        Recipe(
            "stl10",
            "STL-10's 100,000 unlabeled images of 96 × 96, ResNet-18",
            "stl10",
            split="unlabeled",
            batch_size=256,
        ),
        Recipe(
            "tiny-imagenet", "Tiny ImageNet's 200 classes at 64 × 64, ResNet-18", "tiny-imagenet"
        ),
    )
}
