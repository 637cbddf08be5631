"""Sliders over a picture, and the pictures that lessons put under them."""

import math
import os
from collections.abc import Callable

import matplotlib as mpl
import torch
from torch import Tensor

from mmlite.course.frames import frames
from mmlite.course.notebooks import FRAMES, FRAMES_KEY
from mmlite.course.picture import Picture
from mmlite.course.plots import COLORS, LOOK, array, axes_of, image_grid
from mmlite.data import ImageSet, check_image_set, plant_background
from mmlite.support import checks
from mmlite.views import TwoViews


class Dial:
    """Sliders over a picture: moving one calls `function` again and shows what it returns.

    The picture is an output of the cell like any other, and moving a slider replaces it. (An
    Output widget, as `ipywidgets.interactive` makes one, never returns where nbclient executes the
    notebook: its issue 312.)

    Args:
        function: takes the sliders' values by their names and returns a `Picture`.
        text: what stands in the sliders' place where no kernel runs, as in a stored notebook.
        **sliders: ipywidgets with a value, by the names that `function` gives them.

    Attributes:
        widget: the box of the sliders.

    Raises:
        ValueError: one of the sliders is no widget with a value.
    """

    def __init__(self, function: Callable[..., Picture], text: str, **sliders) -> None:
        checks.function("function", function)
        from IPython.display import DisplayHandle
        from ipywidgets import ValueWidget, VBox

        self.text = checks.text("text", text)
        self._function, self._sliders = function, sliders
        for name, slider in sliders.items():
            checks.instance(name, slider, ValueWidget, "an ipywidgets slider or other widget")
            slider.description = slider.description or name
            slider.style.description_width = "initial"  # or long names are cut short
            slider.observe(self._move, "value")
        self.widget = VBox(list(sliders.values()))
        self._picture = self._draw()
        self._shown = DisplayHandle()  # every display of this dial

    def _draw(self) -> Picture:
        return self._function(**{name: slider.value for name, slider in self._sliders.items()})

    def _move(self, change) -> None:
        try:
            self._picture = self._draw()
        except Exception as error:  # nobody catches it here, and a log is no place to look for it
            fault = {"text/plain": f"{type(error).__name__}: {error}"}
            self._shown.update(fault, raw=True)
        else:
            self._shown.update(self._picture)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        sliders = self.widget._repr_mimebundle_() | {"text/plain": f"Dial: {self.text}"}
        display(sliders, raw=True)
        ahead = {}
        if os.environ.get(FRAMES):
            ahead = {FRAMES_KEY: frames(self._function, self._sliders)}
        self._shown.display(self._picture, metadata=ahead)


def push_shares(similarity: Tensor, temperature: float) -> Picture:
    """Draw each negative's share of NT-Xent's push, softmax(similarity / τ), in sorted order.

    Args:
        similarity: the negatives' similarities [M] to one query.
        temperature: τ > 0.

    Raises:
        ValueError: τ is not greater than 0.
    """
    temperature = checks.real("temperature", temperature, above=0)
    ordered = torch.as_tensor(array("similarity", similarity)).float().sort().values
    if not len(ordered):
        raise ValueError("similarity must hold at least one number, got none")
    share = torch.softmax(ordered / temperature, 0)
    hardest = math.ceil(len(share) / 10)
    part = float(share[-hardest:].sum())
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(5.5, 2.6)
        axes.bar(ordered, share, width=0.02, color=COLORS[0])
        axes.set(
            xlabel="similarity to the query",
            ylabel="share of the push",
            xlim=(-1.05, 1.05),
            title=f"τ = {temperature:.2g}: the hardest tenth gets {part:.0%} of the push",
        )
        return Picture(
            figure,
            "Bars over similarity from −1 to 1: the share of the push that each negative gets at "
            "one temperature. The lower the temperature, the more the bars concentrate on the "
            "right.",
        )


def planted_views(garments: ImageSet, strength: float, jitter: float) -> Picture:
    """Show images before a planted background, and two views of each below.

    Args:
        garments: a few images without a background.
        strength: the background's, 0 to 1.
        jitter: the views' color jitter, 0 to 2.

    Raises:
        ValueError: a number is out of its range.
    """
    check_image_set("garments", garments)
    jitter = checks.real("jitter", jitter, least=0, most=2)
    images = plant_background(garments, strength).images
    views = TwoViews(crop=(0.4, 1.0), jitter=jitter, gray=0.2 if jitter else 0.0)
    x1, x2 = views(images, torch.Generator().manual_seed(0))
    rows = torch.cat([images.float() / 255, x1, x2])
    return image_grid(
        rows,
        len(garments),
        f"Three rows of {len(garments)} garments: before their backgrounds, and two random views "
        "of each.",
    )
