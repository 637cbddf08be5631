"""The curve that a training's bar shows."""

import io
import sys

import pytest
from hypothesis import given, strategies as st

import mmlite
from mmlite.support.progress import LEVELS, curve


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 4, ""),
        ([1.0], 4, "▁"),
        ([2, 2, 2], 4, "▁▁▁"),
        ([0, 7], 4, "▁█"),
        ([7, 6, 5, 4, 3, 2, 1, 0], 8, "█▇▆▅▄▃▂▁"),
        ([9, 5, 1, 1], 2, "█▁"),  # means 7 and 1
        ([0, 3, 7, 7, 7], 3, "▁▆█"),  # parts of 1, 2 and 2, means 0, 5 and 7
    ],
)
def test_a_curve_by_hand(values, width, drawn):
    assert curve(values, width) == drawn


@given(st.lists(st.floats(-1e30, 1e30), min_size=2), st.integers(1, 30))
def test_a_curve_has_no_more_characters_than_asked_for_and_reaches_both_ends(values, width):
    drawn = curve(values, width)
    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= set(LEVELS)
    assert LEVELS[0] in drawn


def test_where_the_characters_are_not_to_be_had_there_is_no_curve(monkeypatch):
    few = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", few)
    assert curve([1, 2, 3]) == ""
    monkeypatch.setattr(sys, "stderr", None)
    assert curve([1, 2]) == "▁█"


def test_a_training_shows_the_curve_of_its_loss(monkeypatch, capsys):
    monkeypatch.setattr("mmlite.training.watch.REFRESH", 0.0)
    monkeypatch.setattr("mmlite.support.progress.INTERVAL", 0.0)
    encoder = mmlite.small_conv(1, 8)
    images = mmlite.load("fashion", "train", size=64)

    def loss(model, images, generator):
        h = model(images.float() / 255)
        return mmlite.nt_xent(h[::2], h[1::2])

    mmlite.fit(encoder, loss, images, epochs=3, batch_size=16, progress="a name")
    said = capsys.readouterr().err
    assert "a name" in said
    assert any(level in said.split("loss")[-1] for level in LEVELS)
