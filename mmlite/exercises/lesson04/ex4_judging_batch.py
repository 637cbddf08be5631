"""Exercise 04.4, an open one: a batch that judges a mask better than the one that trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson04.ex2_virtual_step import virtual_step
from mmlite.exercises.lesson04.ex3_meta_gradient import meta_gradient

Batch = tuple[Tensor, Tensor]  # images [N, 2], a signal and a shortcut, and labels [N]
OPEN, CLOSED = 0.9, 0.1  # how far the signal's gate has to open, and the shortcut's to close
STEPS, LR, MASK_LR = 200, 0.3, 2.0
NO_BATCH = -1.0  # what is observed of an answer that is no batch


def judging_batch(x: Tensor, y: Tensor, generator: Generator) -> Batch:
    """Return the batch with the shortcuts dealt out anew, so that they say nothing of the labels.

    Args:
        x: images of the toy, [N, 2]: a signal and a shortcut.
        y: labels, −1 or 1, [N].
        generator: source of randomness, on the CPU.
    """
    order = torch.randperm(len(x), generator=generator).to(x.device)
    return torch.stack([x[:, 0], x[order, 1]], 1), y


def draw(generator: Generator, size: int) -> tuple[Tensor, Tensor, int]:
    """Return a batch whose shortcut always agrees with the label, and a seed."""
    y = 2.0 * torch.randint(0, 2, (size,), generator=generator) - 1
    signal = y + 0.5 * torch.randn(size, generator=generator)
    shortcut = y + 0.1 * torch.randn(size, generator=generator)
    seed = int(torch.randint(0, 2**31, (), generator=generator))
    return torch.stack([signal, shortcut], 1), y, seed


def observe(function: Callable[..., Any], x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Return how far both gates are open after training, cut off at what is asked for: [2]."""
    got = function(x, y, Generator().manual_seed(seed))
    if not _is_batch(got, x):
        return torch.full((2,), NO_BATCH)
    outer_x, outer_y = (part.detach().to(x) for part in got)
    theta, w = x.new_full((2,), 0.3), x.new_zeros(2)
    for _ in range(STEPS):
        theta = virtual_step(theta, w, x, y, LR)
        w = w - MASK_LR * meta_gradient(theta, w, x, y, outer_x, outer_y, LR)
    signal, shortcut = torch.sigmoid(w).tolist()
    return torch.tensor([min(signal, OPEN), max(shortcut, CLOSED)])


def _is_batch(got: Any, x: Tensor) -> bool:
    return (
        isinstance(got, (tuple, list))
        and len(got) == 2
        and all(isinstance(part, Tensor) and not part.is_meta for part in got)
        and got[0].dim() == 2
        and got[0].shape[1] == x.shape[1]
        and len(got[0]) >= 1
        and got[1].shape == got[0].shape[:1]
        and not any(part.is_complex() for part in got)
        and all(bool(part.isfinite().all()) for part in got)
    )


def explain(observed: Tensor) -> str:
    """Say where an answer's gates ended, and what was asked."""
    signal, shortcut = observed.tolist()
    if signal == shortcut == NO_BATCH:
        return "it must return a pair: finite images [M, 2], and one label for each, [M]"
    return (
        f"judged by this batch the signal's gate ends at {signal:.2f} and the shortcut's at "
        f"{shortcut:.2f}; at least {OPEN} and at most {CLOSED} are asked for. In what batch would "
        "a network that relies on the shortcut fail?"
    )


exercise = Exercise(
    id="04.4",
    title="a judge of your own",
    points=3,
    minutes=25,
    difficulty=3,
    function="my_judging_batch",
    reference=judging_batch,
    home="mmlite.exercises.lesson04.judging_batch",
    draw=draw,
    sizes=(256,),
    hidden_sizes=(256, 300),
    tolerance=1e-3,
    why_tolerance="two gates after 200 steps in float32, cut off at what is asked for; right "
    "answers go well beyond it",
    observe=observe,
    explain=explain,
)


@exercise.mistake(
    "judged where it trained",
    "this is the batch that trained, in which the shortcut is right: it judges that the shortcut "
    "helps.",
)
def _judged_where_it_trained(x, y, generator):
    return x, y


@exercise.mistake(
    "signal dealt out",
    "here the signal says nothing and the shortcut is right: it is the other way round.",
)
def _signal_dealt_out(x, y, generator):
    return judging_batch(x.flip(1), y, generator)[0].flip(1), y


@exercise.mistake(
    "labels dealt out",
    "with labels that belong to other images nothing is right, the signal neither: change the "
    "shortcut alone.",
)
def _labels_dealt_out(x, y, generator):
    return x, y[torch.randperm(len(y), generator=generator).to(y.device)]


@exercise.mistake(
    "shortcut taken out",
    "a shortcut that is always 0 does no harm in this batch, so nothing closes its gate: let it "
    "be there, and be wrong as often as right.",
)
def _shortcut_taken_out(x, y, generator):
    return torch.stack([x[:, 0], torch.zeros_like(y)], 1), y
