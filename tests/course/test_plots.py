"""Pictures: what they carry, that dials show theirs anew, and that nothing global changes."""

import io
from itertools import pairwise

import ipywidgets
import matplotlib as mpl
import numpy as np
import pytest
import torch
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets import FloatSlider
from PIL import Image

from mmlite.course import plots, widgets
from mmlite.data import ImageSet
from mmlite.experiments.costs import MachineLimits


def garments(count: int = 3) -> ImageSet:
    pixels = torch.full((count, 1, 8, 8), 100, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64), ("a",))


def all_pictures() -> list[plots.Picture]:
    return [
        plots.image_grid(torch.rand(5, 3, 8, 8), 3, "five images", ["a", "b"]),
        plots.image_grid(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 2, "two images"),
        plots.lines([1, 2], {"a": [1, 2], "b": [2, 1]}, "x", "y", "two lines"),
        plots.lines([1, 10], {"a": [1, 2]}, "x", "y", "a logarithmic axis", log="x"),
        plots.matrices({"a": torch.eye(4), "b": -torch.eye(4)}, "two matrices"),
        plots.matrices({"a": torch.rand(4, 9)}, "one matrix of shares", least=0),
        plots.histogram(torch.rand(50), "value", "fifty values", {"half": 0.5, "all": 1.0}, "how"),
        plots.histogram(torch.rand(50), "value", "fifty values on their own", {}),
        plots.points({"a": (torch.rand(9), torch.rand(9))}, "x", "y", "nine points"),
        plots.points(dict.fromkeys("ab", (torch.rand(9), torch.rand(9))), "x", "y", "two sets"),
        plots.bars({"a": 1.0, "b": 2.0}, "value", "two bars", {"half": 1.5}, [0.1, 0.2]),
        plots.landscape(
            lambda grid: grid.square().sum(1),
            {"a": torch.tensor([[0.0, 0.0], [1.0, 2.0]]), "b": torch.zeros(3, 2)},
            "x",
            "y",
            "a bowl and two paths",
        ),
        widgets.push_shares(torch.linspace(-1, 1, 20), 0.2),
        widgets.planted_views(garments(), 0.5, 0.8),
    ]


def test_every_picture_has_alternative_text_and_is_small_and_opaque():
    for picture in all_pictures():
        bundle = picture._repr_mimebundle_()
        assert bundle["text/plain"] == f"Picture: {picture.alt}"
        assert f'alt="{picture.alt}"' in bundle["text/html"]
        assert len(picture.png) < 100_000
        pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGBA"))
        assert int(pixels[..., 3].min()) == 255  # readable on a dark page


def test_alternative_text_is_required_and_escaped():
    with pytest.raises(ValueError, match="needs alternative text"):
        plots.lines([1], {"a": [1]}, "x", "y", " ")
    picture = plots.lines([1], {"a": [1]}, "x", "y", 'a "b" <c>')
    assert 'alt="a &quot;b&quot; &lt;c&gt;"' in picture._repr_mimebundle_()["text/html"]


def test_drawing_changes_no_global_setting():
    before = dict(mpl.rcParams)
    state = torch.random.get_rng_state()
    all_pictures_after_seed = widgets.planted_views(garments(), 0.5, 0.8)
    all_pictures()
    assert dict(mpl.rcParams) == before
    torch.random.set_rng_state(state)
    again = widgets.planted_views(garments(), 0.5, 0.8)
    assert again.png == all_pictures_after_seed.png


def test_a_picture_is_saved(tmp_path):
    picture = plots.lines([1, 2], {"a": [1, 2]}, "x", "y", "a line")
    picture.save(tmp_path / "line.png")
    assert (tmp_path / "line.png").read_bytes() == picture.png


def draw_line(a, b):
    if b > 0.8:
        raise ArithmeticError("too much")
    return plots.lines([1, 2], {"a": [a, b]}, "x", "y", f"a line from {a} to {b}")


def test_a_dial_shows_its_picture_and_replaces_it_when_a_slider_moves(
    capture_published, monkeypatch
):
    # where one is made, nbclient now and then waits for ever: its issue 312
    monkeypatch.setattr(ipywidgets.Output, "__init__", None)
    dial = widgets.Dial(draw_line, "a and b", a=FloatSlider(0.1), b=FloatSlider(0.2))
    dial._ipython_display_()
    sliders, picture = capture_published
    assert sliders["data"]["text/plain"] == "Dial: a and b"
    assert "application/vnd.jupyter.widget-view+json" in sliders["data"]
    assert [slider.description for slider in dial.widget.children] == ["a", "b"]
    assert "a line from 0.1 to 0.2" in picture["data"]["text/plain"]
    dial.widget.children[1].value = 0.7
    moved = capture_published[-1]
    assert moved["update"]
    assert moved["transient"] == picture["transient"]
    assert "a line from 0.1 to 0.7" in moved["data"]["text/plain"]
    dial.widget.children[1].value = 0.9  # its error is told where the picture was
    assert capture_published[-1]["data"] == {"text/plain": "ArithmeticError: too much"}
    dial.widget.children[1].value = 0.3
    assert "a line from 0.1 to 0.3" in capture_published[-1]["data"]["text/plain"]
    dial._ipython_display_()  # in a second place: what it shows now
    assert "a line from 0.1 to 0.3" in capture_published[-1]["data"]["text/plain"]


def test_a_dial_that_cannot_be_drawn_says_so_at_once():
    with pytest.raises(ArithmeticError, match="too much"):
        widgets.Dial(draw_line, "a and b", a=FloatSlider(0.1), b=FloatSlider(0.9))
    with pytest.raises(ValueError, match=r"b must be an ipywidgets slider.*got"):
        widgets.Dial(draw_line, "a and b", a=FloatSlider(0.1), b=0.9)


@pytest.fixture
def capture_published():
    """Return what is displayed, as it is published."""
    shell = InteractiveShell.instance()
    kept, shell.display_pub = shell.display_pub, CapturingDisplayPublisher(shell=shell)
    yield shell.display_pub.outputs
    shell.display_pub = kept
    InteractiveShell.clear_instance()


def test_the_push_of_the_hardest_tenth_grows_as_the_temperature_falls(monkeypatch):
    titles = []
    axes_of = plots.axes_of

    def spy(width, height):
        figure, axes = axes_of(width, height)
        titles.append(axes)
        return figure, axes

    monkeypatch.setattr(widgets, "axes_of", spy)
    similarity = torch.linspace(-1, 1, 20)
    for temperature in (2.0, 0.05):
        widgets.push_shares(similarity, temperature)
    heights = [[bar.get_height() for bar in axes.patches] for axes in titles]
    for row, temperature in zip(heights, (2.0, 0.05), strict=True):
        weight = np.exp(similarity.numpy() / temperature)
        assert np.allclose(row, weight / weight.sum(), atol=1e-6)
    assert sum(heights[1][-2:]) > sum(heights[0][-2:])


def test_planted_views_shows_each_garment_and_its_two_views(monkeypatch):
    shown = []
    grid = plots.image_grid
    monkeypatch.setattr(widgets, "image_grid", lambda i, *a: shown.append(i) or grid(i, *a))
    widgets.planted_views(garments(4), strength=0.0, jitter=0.0)
    assert shown[0].shape == (12, 3, 8, 8)


@pytest.mark.parametrize(
    ("images", "columns", "message"),
    [
        (torch.full((1, 1, 4, 4), 200), 1, "uint8 or float, got torch.int64"),
        (torch.full((1, 1, 4, 4), 200.0), 1, "must lie in 0..1, got 200"),
        (torch.full((1, 1, 4, 4), torch.nan), 1, "must lie in 0..1, got nan"),
        (torch.rand(1, 2, 4, 4), 1, "with C = 1 or 3"),
        (torch.rand(3, 4, 4), 1, "takes images"),
        (torch.rand(1, 3, 4, 4), 0, "columns must be a whole number of at least 1"),
    ],
)
def test_what_is_no_grid_of_images_is_refused(images, columns, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(images, columns, "images")


def test_more_series_than_markers_are_all_drawn(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "Picture", lambda figure, alt: seen.append(figure.axes[0]))
    nine = [f"series {i}" for i in range(9)]
    plots.lines([1, 2], {name: [1, 2] for name in nine}, "x", "y", "alt")
    plots.points(dict.fromkeys(nine, (torch.rand(3), torch.rand(3))), "x", "y", "alt")
    plots.histogram(torch.rand(9), "x", "alt", dict.fromkeys(nine, 0.5))
    plots.roofline(MachineLimits(1e9, 1e8), {name: [(1.0, 1e8)] for name in nine}, "alt")
    paths = dict.fromkeys(nine, torch.rand(2, 2))
    plots.landscape(lambda grid: grid.square().sum(1), paths, "x", "y", "alt")
    drawn = [[t.get_label() for t in (*axes.lines, *axes.collections)] for axes in seen]
    assert [len(set(nine) & set(labels)) for labels in drawn] == [9] * 5


def test_numbers_of_any_precision_are_drawn_and_nan_is_told():
    half = torch.rand(5, dtype=torch.bfloat16, requires_grad=True)
    plots.points({"a": (half, half)}, "x", "y", "alt")
    plots.histogram(half, "x", "alt", {})
    widgets.push_shares(half, 0.1)
    with pytest.raises(ValueError, match="NaN or an infinity"):
        plots.histogram(torch.tensor([1.0, torch.nan]), "x", "alt", {})
    for temperature in (0.0, -0.1):
        with pytest.raises(ValueError, match="temperature must be a finite number greater than 0"):
            widgets.push_shares(torch.rand(5), temperature)


def test_a_picture_has_twice_the_pixels_that_it_is_shown_with():
    picture = plots.lines([1, 2], {"a": [1, 2]}, "x", "y", "a line")
    shown = int(picture._repr_mimebundle_()["text/html"].split('width="')[1].split('"')[0])
    drawn = Image.open(io.BytesIO(picture.png)).width
    assert abs(drawn - 2 * shown) <= 1
    assert 300 <= shown <= 600


def test_no_legend_lies_over_the_data(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "Picture", lambda figure, alt: seen.append(figure))
    all_pictures()
    with_legend = [figure for figure in seen if figure.legends]
    assert len(with_legend) >= 5
    for figure in seen:
        figure.draw_without_rendering()
        for axes in figure.axes:
            assert axes.get_legend() is None
            for legend in figure.legends:
                data, box = axes.get_window_extent(), legend.get_window_extent()
                assert not data.overlaps(box)


def test_no_label_of_an_axis_reaches_into_the_legend(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "Picture", lambda figure, alt: seen.append(figure))
    six = {f"a series of some length, number {i}": [1, 2] for i in range(6)}
    plots.lines([1, 2], six, "x", "accuracy of a linear probe", "six lines")
    (figure,) = seen
    figure.draw_without_rendering()
    label = figure.axes[0].yaxis.label.get_window_extent()
    assert not label.overlaps(figure.legends[0].get_window_extent())


@pytest.mark.parametrize(
    ("x", "shown"),
    [
        ([2, 3, 5, 8, 12, 20, 30, 50], ["2", "3", "5", "8", "12", "20", "30", "50"]),
        ([1, 10, 10.5, 800], ["1", "10", "800"]),  # 10.5 would stand on 10
        ([0.05, 0.2], ["0.05", "0.2"]),
    ],
)
def test_a_logarithmic_axis_of_a_few_numbers_is_labeled_with_them(monkeypatch, x, shown):
    seen = []
    monkeypatch.setattr(plots, "Picture", lambda figure, alt: seen.append(figure))
    plots.lines(x, {"a": x}, "x", "y", "a line", log="x")
    seen[0].draw_without_rendering()
    axis = seen[0].axes[0].xaxis
    labels = [label for label in axis.get_ticklabels(which="both") if label.get_text()]
    assert [label.get_text() for label in labels] == shown
    boxes = [label.get_window_extent() for label in labels]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
