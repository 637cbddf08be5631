"""Exercise 01.8, an open one: a representation that knows without training that a nudge is none."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.data import load
from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson01.ex3_two_views import two_views
from mmlite.exercises.open_ended import UNREADABLE, accuracy_up_to, explaining, is_floats

TEST, ENOUGH = 500, 0.58  # pixels read nudged images at 0.42 to 0.50, a spectrum at 0.72


def representation(images: Tensor) -> Tensor:
    """Return the sizes of each image's Fourier coefficients, [N, H · W], for images [N, 1, H, W].

    A shift changes phases alone (but for the border); the mirror image's are added, so that a flip
    changes nothing.
    """
    spectrum = torch.fft.fft2(images[:, 0]).abs() + torch.fft.fft2(images[:, 0].flip(2)).abs()
    return spectrum.flatten(1)


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training garments and nudged test garments, float 0..1, with labels."""
    train, test = load("fashion", "train"), load("fashion", "test")
    seen = torch.randperm(len(train), generator=generator)[:size]
    fresh = torch.randperm(len(test), generator=generator)[:TEST]
    nudged, _ = two_views(test.images[fresh], generator)
    return (
        train.images[seen].float() / 255,
        train.labels[seen],
        nudged.float() / 255,
        test.labels[fresh],
    )


def observe(
    function: Callable[..., Any], images: Tensor, labels: Tensor, nudged: Tensor, truth: Tensor
) -> Tensor:
    """Return the kNN accuracy of an answer on nudged images, or `ENOUGH` if it is more."""
    seen, fresh = function(images), function(nudged)
    for h, given in ((seen, images), (fresh, nudged)):
        if not is_floats(h) or h.dim() != 2 or len(h) != len(given) or not h.shape[1]:
            return torch.tensor(UNREADABLE)
    seen, fresh = (h.detach().to(images) for h in (seen, fresh))
    if seen.shape[1] != fresh.shape[1]:
        return torch.tensor(UNREADABLE)
    return accuracy_up_to(ENOUGH, seen, labels, fresh, truth)


exercise = Exercise(
    id="01.8",
    title="a representation of your own",
    points=3,
    minutes=30,
    difficulty=3,
    function="my_representation",
    reference=representation,
    home="mmlite.exercises.lesson01.representation",
    draw=draw,
    sizes=(1000,),
    hidden_sizes=(1000, 1500),
    tolerance=1e-6,
    why_tolerance="what is compared is an accuracy, cut off at what is asked for",
    observe=observe,
    explain=explaining(
        ENOUGH,
        "kNN reads {reached:.2f} of the nudged images right, and {enough} is asked for (pixels: "
        "0.47). What of an image stays as it is when it is shifted, or seen in a mirror?",
        "it must return one row of floats for each image, [N, D], with the same D each time",
        "the representation holds NaN or infinities: is something divided by 0?",
    ),
)


@exercise.mistake(
    "pixels",
    "these are the pixels as they stand, which move when the garment moves: they read about 0.47.",
)
def _pixels(images):
    return images.flatten(1)


@exercise.mistake(
    "darkness alone",
    "how bright the pixels are, wherever they stand, is the same for every shift, but too little "
    "of a garment is left in it: keep something of its shape.",
)
def _darkness_alone(images):
    return torch.stack([torch.histc(image, 20, 0, 1) for image in images])


@exercise.mistake(
    "coarse pixels",
    "means over large squares are pixels still: a garment that moves leaves one square for "
    "another.",
)
def _coarse_pixels(images):
    return F.avg_pool2d(images, 7).flatten(1)
