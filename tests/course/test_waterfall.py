"""Waterfalls: each step begins where the one before it ended, and the last bar is their sum."""

import pytest

from mmlite.course import waterfall as of_waterfall
from mmlite.course.waterfall import waterfall

TWO = {"first": {"L": -2.0, "H": 2.5, "J": -0.25}, "second": {"L": 1.0, "H": 0.0, "J": 0.5}}


def test_steps_follow_each_other_up_to_the_sum(monkeypatch):
    drawn = []
    real = of_waterfall.Picture

    def seen(figure, alt):
        drawn.append(figure)
        return real(figure, alt)

    monkeypatch.setattr(of_waterfall, "Picture", seen)
    picture = waterfall(TWO, "CE", "two accounts")
    assert picture.alt == "two accounts"
    panels = drawn[0].axes
    assert [axes.get_title() for axes in panels] == ["first\nCE = 0.25", "second\nCE = 1.50"]
    for axes, steps in zip(panels, TWO.values(), strict=True):
        *bars, total = axes.patches
        level = 0.0
        for bar, height in zip(bars, steps.values(), strict=True):
            ends = {bar.get_y(), bar.get_y() + bar.get_height()}
            assert ends == {level, level + height}
            level += height
        assert (total.get_y(), total.get_height()) == (0, level)
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert names == ["L", "H", "J", "CE"]


@pytest.mark.parametrize(
    ("accounts", "message"),
    [
        ({}, "accounts must be a mapping"),
        ({"a": {}}, "accounts must be a mapping"),
        ({"a": {"L": 1.0}, "b": {"H": 1.0}}, "accounts must have the same names"),
        ({"a": {"L": float("nan")}}, r"accounts\['a'\]\['L'\] must be a finite number"),
    ],
)
def test_what_cannot_be_drawn_is_refused(accounts, message):
    with pytest.raises(ValueError, match=message):
        waterfall(accounts, "CE", "alt")
