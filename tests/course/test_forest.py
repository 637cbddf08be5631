"""Forest plots: what is drawn where, and what is refused."""

import matplotlib as mpl
import pytest

from mmlite.course import forest as of_forest
from mmlite.course.forest import forest

TWO = {"a − b": (0.5, -0.1, 1.1), "c − d": (-2.0, -3.0, -1.0)}


def test_each_interval_is_drawn_at_its_place_under_its_name(monkeypatch):
    drawn = []
    real = of_forest.Picture

    def seen(figure, alt):
        drawn.append(figure)
        return real(figure, alt)

    monkeypatch.setattr(of_forest, "Picture", seen)
    picture = forest(TWO, "points", "two differences", margin=1.0, shown=1)
    assert picture.alt == "two differences"
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TWO)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first stands on top
    ends = {tuple(line.get_xdata()) for line in axes.lines}
    assert {(-0.1, 1.1), (-3.0, -1.0)} <= ends
    means = {tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 1}
    assert means == {(0.5,), (-2.0,)}
    colors = [line.get_color() for line in axes.lines if len(line.get_xdata()) == 1]
    assert colors[0] != colors[1]
    (margin,) = axes.patches
    assert (margin.get_x(), margin.get_x() + margin.get_width()) == (-1.0, 1.0)
    assert mpl.rcParams["axes.grid"] is False  # no setting was left changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, "points", "alt"), "differences must be a mapping"),
        (({"a": (1.0, 2.0)}, "points", "alt"), "each of differences must be three numbers"),
        (({"a": (3.0, 1.0, 2.0)}, "points", "alt"), "the mean within its interval, got '3 in 1 to"),
        (({"a": (float("nan"), 1.0, 2.0)}, "points", "alt"), "must be a finite number"),
        (({3: (1.0, 1.0, 2.0)}, "points", "alt"), "a name in differences must be a string"),
        ((TWO, 3, "alt"), "xlabel must be a string"),
        ((TWO, "points", ""), "a picture needs alternative text"),
        ((TWO, "points", "alt", 0), "margin must be a finite number greater than 0"),
        ((TWO, "points", "alt", None, 3), "shown must be a whole number from 0 to 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        forest(*arguments)
