"""Exercise 01.3: two random views of every image."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mmlite.exercises.exercise import Exercise
from mmlite.exercises.lesson01 import random_views
from mmlite.exercises.lesson01.random_views import REACH


def two_views(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return two views of images [N, C, H, W], each image shifted and perhaps flipped by chance.

    Every image of every view gets a draw of its own: a shift of −3..3 pixels along each axis, the
    uncovered border filled with 0, and with probability 1/2 a horizontal flip.
    """
    return _views(images, generator)


def _views(images: Tensor, generator: Generator | None, **how) -> tuple[Tensor, Tensor]:
    return _view(images, generator, **how), _view(images, generator, **how)


def _view(
    images: Tensor,
    generator: Generator | None,
    flips: bool = True,
    each: bool = True,
    upside_down: bool = False,
    border: str = "constant",
    square: bool = False,
    shifts: int = 2 * REACH + 1,
    flip_each: bool = True,
) -> Tensor:
    count, _, height, width = images.shape
    draws = count if each else 1
    axes = 1 if square else 2
    shift = torch.randint(0, shifts, (draws, axes), generator=generator).expand(count, 2)
    decisions = draws if flip_each else 1
    flipped = torch.rand(decisions, generator=generator).expand(count) < 0.5
    if border == "constant":
        padded = F.pad(images, [REACH] * 4)
    else:  # torch wraps floats alone
        padded = F.pad(images.float(), [REACH] * 4, mode=border).to(images.dtype)
    rows, columns = (
        shift[:, axis, None] + torch.arange(length) for axis, length in enumerate((height, width))
    )
    which = torch.arange(count)[:, None, None]
    views = padded.movedim(1, 3)[which, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
    if not flips:
        return views
    turned = views.flip(2 if upside_down else 3)
    return torch.where(flipped[:, None, None, None].to(views.device), turned, views)


exercise = Exercise(
    id="01.3",
    title="two random views of every image",
    points=3,
    minutes=20,
    difficulty=3,
    function="my_two_views",
    reference=two_views,
    home="mmlite.exercises.lesson01.two_views",
    draw=random_views.coordinates,
    sizes=(1000,),
    hidden_sizes=(1200,),
    tolerance=0,
    why_tolerance="properties hold or do not",
    observe=random_views.observe,
    explain=random_views.explain,
)


@exercise.mistake(
    "same view twice",
    "both views are the same tensor: draw a second time for the second view, or the "
    "two always agree and there is nothing to learn.",
)
def _same_view_twice(images, generator):
    view = _view(images, generator)
    return view, view


@exercise.mistake(
    "one draw for the batch",
    "one shift and one flip serve the whole batch: draw one for each image, or the "
    "network can tell views apart by the shift they share.",
)
def _one_draw_for_the_batch(images, generator):
    return _views(images, generator, each=False)


@exercise.mistake(
    "never flipped",
    "the views are shifted but never flipped: with probability 1/2 turn each left to right.",
)
def _never_flipped(images, generator):
    return _views(images, generator, flips=False)


@exercise.mistake(
    "one flip for a view",
    "one decision flips all images of a view or none: draw one for each image.",
)
def _one_flip_for_a_view(images, generator):
    return _views(images, generator, flip_each=False)


@exercise.mistake(
    "one shift for both axes",
    "every image moves along the diagonal, for one number shifts both axes: draw two, "
    "one for the rows and one for the columns.",
)
def _one_shift_for_both_axes(images, generator):
    return _views(images, generator, square=True)


@exercise.mistake(
    "a shift of 3 never drawn",
    "one of the shifts never comes: `torch.randint(0, 6, …)` stops at 5, so draw from "
    "0 to 6 with `torch.randint(0, 7, …)`.",
)
def _shift_of_three_never_drawn(images, generator):
    return _views(images, generator, shifts=2 * REACH)


@exercise.mistake(
    "type changed",
    "the views are right but for their type: they must have that of the images, so do "
    "not make floats of them.",
)
def _type_changed(images, generator):
    return tuple(view.float() for view in two_views(images, generator))


@exercise.mistake(
    "generator unused",
    "the views are right, but the same seed does not repeat them: pass "
    "`generator=generator` to every call that draws random numbers.",
)
def _generator_unused(images, generator):
    return _views(images, None)


@exercise.mistake(
    "flipped upside down",
    "some views stand on their heads: flip the last axis (the columns), not the rows.",
)
def _flipped_upside_down(images, generator):
    return _views(images, generator, upside_down=True)


@exercise.mistake(
    "border wrapped around",
    "what leaves an image on one side comes back on the other, as torch.roll does: "
    "fill the border with 0.",
)
def _wrapped_around(images, generator):
    return _views(images, generator, border="circular")
