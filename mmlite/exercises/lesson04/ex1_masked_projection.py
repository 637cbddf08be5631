"""Exercise 04.1: a mask before the head."""

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise


def masked_projection(h: Tensor, w: Tensor, weight: Tensor) -> Tensor:
    """Return z [N, P] of a linear head, weight [P, D], that sees h [N, D] through σ(w) [D]."""
    return (h * torch.sigmoid(w)) @ weight.T


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, Tensor]:
    # P = D, so that a mask in the wrong place has the right shape
    return (
        torch.randn(size, 4, generator=generator),
        torch.randn(4, generator=generator),
        torch.randn(4, 4, generator=generator),
    )


exercise = Exercise(
    id="04.1",
    title="a mask before the head",
    points=1,
    minutes=5,
    difficulty=1,
    function="my_masked_projection",
    reference=masked_projection,
    home="mmlite.exercises.lesson04.masked_projection",
    draw=draw,
    sizes=(2, 5),
    hidden_sizes=(1, 64),
    tolerance=1e-5,
    why_tolerance="sums of four float32 products round by about 1e-6",
)


@exercise.mistake(
    "mask after the head",
    "the mask multiplies what the head returns: it belongs before the head, on h, "
    "where a dimension still is a dimension of the representation.",
)
def _mask_after_the_head(h, w, weight):
    return (h @ weight.T) * torch.sigmoid(w)


@exercise.mistake(
    "logits for the mask", "the logits were multiplied in as they are: the mask is sigmoid(w)."
)
def _logits_for_the_mask(h, w, weight):
    return (h * w) @ weight.T


@exercise.mistake("no mask", "the mask is not used: multiply h by sigmoid(w) first.")
def _no_mask(h, w, weight):
    return h @ weight.T


@exercise.mistake(
    "softmax",
    "this is a softmax, in which dimensions compete for a sum of 1: each gate is a "
    "sigmoid of its own.",
)
def _softmax(h, w, weight):
    return (h * torch.softmax(w, 0)) @ weight.T
