"""Tables of numbers: what is printed, and that it can be compared on another machine."""

import pytest

from mmlite.course.claims import masked
from mmlite.course.tables import table

ROWS = {"pixels": {"kNN": 0.8, "probe": 0.82}, "network": {"probe": 0.853}}


def test_a_table_is_aligned_and_leaves_gaps(capsys):
    table(ROWS)
    assert capsys.readouterr().out == (
        "             kNN    probe\npixels   ≈ 0.800  ≈ 0.820\nnetwork           ≈ 0.853\n"
    )
    table({"a": {"gain": -0.1}}, "+.1f")
    assert capsys.readouterr().out == "     gain\na  ≈ -0.1\n"


def test_each_of_its_numbers_may_be_another_and_none_of_its_names(capsys):
    others = {"pixels": {"kNN": 0.7, "probe": -1e-5}, "network": {"probe": 12345.0}}
    printed = []
    for rows in (ROWS, others, {"pixels": {"kNN": 0.7}}, {**ROWS, "another": {"kNN": 1.0}}):
        table(rows, ".3g")
        printed.append(masked(capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert printed[0] not in printed[2:]


@pytest.mark.parametrize(
    ("rows", "form", "message"),
    [
        ({}, ".3f", "rows must be"),
        ({"a": {}}, ".3f", "rows must be"),
        ({"a": 1.0}, ".3f", "rows must be"),
        ({"a": {"b": "c"}}, ".3f", "'b'.* must be a number, got 'c'"),
        ({"a": {"b": float("nan")}}, ".3f", "'b'.* must be a number, got nan"),
        ({"a": {"b": 1.0}}, "s", "form must be a number's format"),
        ({"a" * 90: {"b": 1.0}}, ".3f", "is wider than a page, which shows 90: shorten"),
    ],
)
def test_what_is_no_table_is_refused(rows, form, message):
    with pytest.raises(ValueError, match=message):
        table(rows, form)
