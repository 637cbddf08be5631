"""A dial's pictures drawn ahead: which values, and in which order."""

import base64
import io

import pytest
from hypothesis import given, strategies as st
from ipywidgets import Dropdown, FloatLogSlider, FloatSlider, IntSlider
from PIL import Image

from mmlite.course import plots
from mmlite.course.frames import frames, some_values


def draw(a, b):
    return plots.lines([1, 2], {"one": [1, a]}, "x", "y", f"a line up to {a:g} in the mood {b}")


def test_the_last_sliders_values_change_fastest():
    sliders = {
        "a": FloatSlider(2.0, min=0, max=4, step=1),
        "b": Dropdown(options=[("good", "g"), ("bad", "b")], value="b", description="mood"),
    }
    made = frames(draw, sliders)
    assert made["sliders"] == [
        {"name": "a", "values": ["0", "1", "2", "3", "4"], "place": 2},
        {"name": "mood", "values": ["g", "b"], "place": 1},
    ]
    assert [frame["alt"] for frame in made["frames"]] == [
        f"a line up to {a} in the mood {b}" for a in range(5) for b in "gb"
    ]
    for frame in made["frames"]:
        data = base64.b64decode(frame["src"].partition("base64,")[2])
        assert Image.open(io.BytesIO(data)).width == frame["width"]


@pytest.mark.parametrize(
    ("slider", "count", "values"),
    [
        (IntSlider(3, min=0, max=3), 15, [0, 1, 2, 3]),
        (IntSlider(1, min=0, max=10, step=5), 3, [1, 5, 10]),  # in the place of the nearest tick
        (IntSlider(0, min=0, max=0), 5, [0]),
        (FloatSlider(0.5, min=0, max=1, step=0.25), 3, [0, 0.5, 1]),
        (FloatLogSlider(10, base=10, min=0, max=2, step=1), 3, [1, 10, 100]),
        (Dropdown(options=["x", "y", "z"], value="y"), 3, ["x", "y", "z"]),
    ],
)
def test_values_by_hand(slider, count, values):
    assert some_values(slider, count) == values


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 15))
def test_the_present_value_and_both_ends_are_among_them(last, present, count):
    present = min(present, last)
    found = some_values(IntSlider(present, min=0, max=last), count)
    assert present in found
    assert found == sorted(set(found))
    assert len(found) <= max(count, 2) + (count == 2)
    if count > 2:
        assert {0, last} <= set(found)


@pytest.mark.parametrize("count", [0, 4])
def test_as_many_sliders_as_a_page_can_have(count):
    sliders = {f"s{i}": IntSlider(0, min=0, max=1) for i in range(count)}
    with pytest.raises(ValueError, match="sliders must be one to three of them"):
        frames(draw, sliders)
