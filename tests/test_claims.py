"""Claims: what holds, what fails, and that a run reads them back."""

import math

import pytest

from mmlite.claims import Claim, claim, read_claims


@pytest.mark.parametrize(
    ("value", "bounds", "holds"),
    [
        (0.3, {"at_least": 0.2}, True),
        (0.2, {"at_least": 0.2}, True),
        (0.1, {"at_least": 0.2}, False),
        (0.1, {"at_most": 0.2}, True),
        (0.3, {"at_most": 0.2}, False),
        (0.3, {"at_least": 0.2, "at_most": 0.4}, True),
        (0.5, {"at_least": 0.2, "at_most": 0.4}, False),
        (math.nan, {"at_least": 0.0}, False),
        (math.nan, {"at_most": 0.0}, False),
    ],
)
def test_a_claim_holds_within_its_bounds(capsys, value, bounds, holds):
    claim("birds fly", value, **bounds)
    printed = capsys.readouterr().out
    assert read_claims(printed)[0].holds is holds
    assert printed.startswith("✓ claim: birds fly" if holds else "✗ claim fails: birds fly")


def test_the_line_says_the_bounds_and_marks_the_measured_number(capsys):
    claim("birds fly", 0.31234, at_least=0.2, at_most=1)
    assert capsys.readouterr().out == (
        "✓ claim: birds fly (must be ≥ 0.2 and ≤ 1; measured ≈ 0.312)\n"
    )


@pytest.mark.parametrize("statement", ["", "one\ntwo", "one\r"])
def test_a_statement_is_one_line(statement):
    with pytest.raises(ValueError, match="one line, got"):
        claim(statement, 1, at_least=0)


def test_a_claim_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="a claim needs a bound"):
        claim("birds fly", 1.0)


def test_claims_are_found_among_other_lines():
    text = "loss ≈ 2\n✓ claim: a (x)\nnot a ✓ claim: b\n✗ claim fails: c\n"
    assert read_claims(text) == [Claim(True, "a (x)"), Claim(False, "c")]
