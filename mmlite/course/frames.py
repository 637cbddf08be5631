"""A dial's pictures for where no Python runs: drawn ahead, for some values of each slider.

When a lesson is built they are kept in the metadata of the dial's picture, where notebooks and
their comparison do not look; the site makes sliders of them.
"""

import base64
import io
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from mmlite.course.picture import Picture
from mmlite.support import checks

# how many values of each of so many sliders
COUNTS = {1: (15,), 2: (5, 4), 3: (4, 3, 3)}
COLORS = 32


def frames(function: Callable[..., Picture], sliders: Mapping[str, Any]) -> dict[str, Any]:
    """Return a picture for each combination of some values of the sliders.

    Args:
        function: takes the values by the sliders' names.
        sliders: ipywidgets by name, at most three.

    Returns:
        `sliders`: of each its name, its values as texts, and the place of its present value; and
        `frames`: of each combination, the last slider's values changing fastest, the source of an
        image, its width in a page's pixels, and its alternative text.

    Raises:
        ValueError: there are none or more than three sliders.
    """
    if len(sliders) not in COUNTS:
        raise checks.wrong("sliders", "one to three of them", len(sliders))
    values = {
        name: some_values(slider, count)
        for (name, slider), count in zip(sliders.items(), COUNTS[len(sliders)], strict=True)
    }
    told = [
        {
            "name": slider.description or name,
            "values": [_text(value) for value in values[name]],
            "place": values[name].index(slider.value),
        }
        for name, slider in sliders.items()
    ]
    pictures = (
        function(**dict(zip(values, chosen, strict=True)))
        for chosen in itertools.product(*values.values())
    )
    drawn = [{"src": _small(one), "width": one.width, "alt": one.alt} for one in pictures]
    return {"sliders": told, "frames": drawn}


def some_values(slider: Any, count: int) -> list[Any]:
    """Return at most so many values of a slider or choice, its present one among them, in order."""
    if hasattr(slider, "options"):
        every = [value for _, value in slider._options_full]
        present = every.index(slider.value)
    else:
        steps = round((slider.max - slider.min) / slider.step)
        ticks = [slider.min + slider.step * place for place in range(steps + 1)]
        logarithmic = hasattr(slider, "base")
        every = [slider.base**tick for tick in ticks] if logarithmic else ticks
        # as a slider rounds its steps
        present = min(range(len(every)), key=lambda place: abs(every[place] - slider.value))
    last = len(every) - 1
    places = {round(last * place / (count - 1)) for place in range(count)} if last else {0}
    if len(places) > 1 and present not in places:
        inner = places - {0, last} or places
        places.remove(min(inner, key=lambda place: abs(place - present)))
    chosen = sorted(places | {present})
    return [slider.value if place == present else every[place] for place in chosen]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{round(value, 10):.3g}" if math.isfinite(value) else str(value)
    return str(value)


def _small(picture: Picture) -> str:
    """Return a picture at the size it is shown, in few colors or, if that is less, as WebP."""
    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    height = round(image.height * picture.width / image.width)
    image = image.resize((picture.width, height), Image.Resampling.LANCZOS)
    few, webp = io.BytesIO(), io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(few, "png", optimize=True)
    image.save(webp, "webp", quality=60, method=6)
    kind, data = min((("png", few), ("webp", webp)), key=lambda one: len(one[1].getvalue()))
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
