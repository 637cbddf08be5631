"""Exercise 06.6, an open one: a mask that narrows the bound and spoils the classifier."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.open_ended import is_floats
from mmlite.theory import mask_claims

FALLS, RISES = 0.5, 0.1  # to which share the variance has to fall, by how many nats the risk rise
TEMPERATURE = 0.5
NO_MASK = -1.0  # what is observed of an answer that is no mask


def counterexample(f: Tensor, labels: Tensor) -> Tensor:
    """Return a mask [D] that leaves the dimension open whose mean is the loudest.

    What all images share then makes up nearly all of each feature's direction: the features draw
    together, within classes and between them.
    """
    mask = torch.full((f.shape[1],), 0.05, device=f.device)
    mask[f.mean(0).abs().argmax()] = 1.0
    return mask


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return two views [N, 6] and labels [N].

    In an order of their own: two dimensions that hold the class, three of noise, and one that all
    images share.
    """
    labels = torch.arange(size) % 3
    angle = 2 * torch.pi * labels / 3
    order = torch.randperm(6, generator=generator)

    def view() -> Tensor:
        signal = torch.stack([angle.cos(), angle.sin()], 1)
        signal = 0.8 * signal + 0.2 * torch.randn(size, 2, generator=generator)
        noise = 0.3 * torch.randn(size, 3, generator=generator)
        shared = 0.8 + 0.05 * torch.randn(size, 1, generator=generator)
        return torch.cat([signal, noise, shared], 1)[:, order]

    return view(), view(), labels


def observe(function: Callable[..., Any], f1: Tensor, f2: Tensor, labels: Tensor) -> Tensor:
    """Return what share is left of the variance, and the rise of the risk, both cut off: [2]."""
    mask = function(torch.cat([f1, f2]), labels.repeat(2))
    if (
        not is_floats(mask)
        or mask.shape != f1.shape[1:]
        or not bool(((mask > 0) & (mask <= 1)).all())
    ):
        return torch.full((2,), NO_MASK)
    views = torch.stack([f1, f2])
    claims = mask_claims(views, labels, mask.detach().to(f1), TEMPERATURE)
    left = claims.masked.variance / claims.whole.variance
    rise = claims.masked.cross_entropy - claims.whole.cross_entropy
    return torch.tensor([max(left, FALLS), min(rise, RISES)])


def explain(observed: Tensor) -> str:
    """Say what an answer's mask did, and what was asked."""
    left, rise = observed.tolist()
    if left == rise == NO_MASK:
        return "it must return a mask [D] of floats above 0 and at most 1"
    return (
        f"through this mask {left:.2f} of the variance is left, and the classifier's cross-entropy "
        f"changes by {rise:+.2f} nats; at most {FALLS} and at least {RISES:+} are asked for. What "
        "draws all images together, whatever their class?"
    )


exercise = Exercise(
    id="06.6",
    title="a tighter bound, a worse classifier",
    points=3,
    minutes=25,
    difficulty=3,
    function="my_counterexample",
    reference=counterexample,
    home="mmlite.exercises.lesson06.counterexample",
    draw=draw,
    sizes=(150,),
    hidden_sizes=(120, 200),
    tolerance=1e-3,
    why_tolerance="what is compared is cut off at what is asked for; right answers go well beyond "
    "it",
    observe=observe,
    explain=explain,
)


@exercise.mistake("no mask", "this mask changes nothing: it is the same for every dimension.")
def _no_mask(f, labels):
    return torch.full((f.shape[1],), 0.5, device=f.device)


@exercise.mistake(
    "noise closed",
    "this mask closes the noise: the variance falls, and the classifier gets better. Find one that "
    "fools the bound.",
)
def _noise_closed(f, labels):
    mean = torch.stack([f[labels == k].mean(0) for k in labels.unique()])
    between, within = mean.std(0), f.std(0)
    noise = (between < 0.3 * within) & (f.mean(0).abs() < 0.4)
    return torch.where(noise, 0.05, 1.0)


@exercise.mistake(
    "class closed",
    "this mask closes the dimensions of the class and leaves the noise loud: the classifier is "
    "worse, and the variance within classes is not less.",
)
def _class_closed(f, labels):
    mean = torch.stack([f[labels == k].mean(0) for k in labels.unique()])
    return torch.where(mean.std(0) > 0.3, 0.05, 1.0)
