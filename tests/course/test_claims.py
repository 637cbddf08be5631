"""Claims: what holds, what fails, and that a run reads them back."""

import math
import random
import re
from pathlib import Path

import pytest

from mmlite.course import notebooks
from mmlite.course.claims import Claim, claim, masked, read_claims

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted([*ROOT.glob("lessons/*.ipynb"), *ROOT.glob("solutions/*.ipynb")])


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


@pytest.mark.parametrize(
    "words", ["birds fly (most of them)", "birds that are light fly " * 3 + "far"]
)
def test_a_claims_statement_is_what_was_claimed(capsys, words):
    claim(words, 0.3, at_least=0.2)
    (found,) = read_claims(capsys.readouterr().out)
    assert found.statement == words


def test_the_line_says_the_bounds_and_marks_the_measured_number(capsys):
    claim("birds fly", 0.31234, at_least=0.2, at_most=1)
    assert capsys.readouterr().out == (
        "✓ claim: birds fly (must be ≥ 0.2 and ≤ 1; measured ≈ 0.312)\n"
    )


@pytest.mark.parametrize("statement", ["", "one\ntwo", "one\r"])
def test_a_statement_is_one_line(statement):
    with pytest.raises(ValueError, match="one line, got"):
        claim(statement, 1, at_least=0)


@pytest.mark.parametrize("length", range(20, 85))
def test_what_is_measured_moves_no_line(length, capsys):
    shapes = set()
    for value in (1.0, 0.123456, -1.23456e-45, 123456.0, math.inf, math.nan):
        claim("a" * length, value, at_least=0.5)
        printed = capsys.readouterr().out
        shapes.add(printed.count("\n"))
        assert all(len(line) <= 100 for line in printed.splitlines())
        (found,) = read_claims(printed)
        assert found.holds is (value >= 0.5)
    # a claim that holds and one that fails differ by six letters
    assert len(shapes) == 1 or 38 <= length <= 46


def test_a_claim_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="a claim needs a bound"):
        claim("birds fly", 1.0)


def test_claims_are_found_among_other_lines():
    text = "loss ≈ 2\n✓ claim: a (x)\nnot a ✓ claim: b\n✗ claim fails: c\n"
    assert read_claims(text) == [Claim(True, "a (x)"), Claim(False, "c")]


# What the comparison of notebooks leaves out. Numbers in «» may change, all others may not.


@pytest.mark.parametrize(
    "text",
    [
        "kNN ≈ «0.71»",
        "≈ «1.80» «1.51» «1.59»",
        "a mask ≈ «-0.2862» «+0.2355»\n12 dimensions",
        "rank of 16 ≈ «8.5», «8.9», «8.8» (3 seeds)",
        "rank ≈ «50.8» of 128, of z ≈ «23.4» of 64",
        "≈ «8.5», «8.9» and «8.8» of 16",
        "between ≈ «8»% and «91»% of 200 masks",
        "between ≈ «8» % and ≈ «91» % of 200 masks",
        "≈ «0.71» ± «0.02», k = 5",
        "≈ «0.71»±«0.02»",
        "≈ «3»–«5» points",
        "≈ «3»-«5»",
        "≈ «0.1» … «0.3», ≈ «0.1»...«0.3»",
        "≈ «0.4» («0.3» to «0.5») at 95 %",
        "≈ «0.4» [«-0.3», «+0.5»] in 12 seeds",
        "a = [≈ «0.1»], 3 = 4",
        "≈ «12.5» ms, «15» ms and «0.3» s: 3 layers",
        "latency ≈ «130» µs, bandwidth ≈ «1.29» GB/s, 2 processes",
        "rank ≈ «8.5», «8.9», 26 of 64",
        "≈ «8», «9» and «12» points, k = 5",
        "≈ «0.5», «3» and «4», 2 seeds",
        "≈ [«1.» «2.» «0.5»], mean [3.]",
        "≈ «1.9»x to «2.1»x",
        "≈ «1,973» images of 5,000",
        "≈ «1e-05», «-3.2e+01»; «4E5»",
        "≈ «1.5e−3» or «−7»",
        "≈ «3.4» × «10⁻⁵» at step 2",
        "≈ «3»/«5» | «0.2» | «0.3» | mean | 0.4",
        "≈ [«0.1» «0.2»\n «0.3» «-0.4»]\n0.5",
        "≈ tensor([[«0.1», «0.2»],\n        [«0.3», «0.4»]], dtype=torch.float64)",
        "≈ («0.1», «0.2»)\n(0.3, 0.4)",
        "P =   4: kNN ≈ «0.615», width 256 and 3",
        "«» no sign: 0.3, 0.4 and 1e-05",
        "≈ «0.3». 12 images = 12",
        "≈ «0.3»: 12, ≈ «0.3» = 12",
        "≈ nothing, 3",
        "≈ «.5», ≈«7»",
        "(must be ≥ 0.47 and ≤ 3; measured ≈ «1.46»)\n✓ claim: 2 (must be ≤ 0; measured ≈ «0»)",
        "one  epoch 1: loss ≈ «5.5», mask up to ≈ «0.549», epoch 2: loss ≈ «5.3»",
        "2^-52, 2^-23: ε ≈ «6e-06»",
    ],
)
def test_the_numbers_behind_the_sign_may_change_and_no_other(text):
    pieces = re.split("[«»]", text)
    stored = masked("".join(pieces))
    draw = random.Random(0)

    def other(piece: str) -> str:
        return (
            f"{draw.choice(' -')}{draw.uniform(0, 10 ** draw.randrange(4)):.{len(piece)}f}".strip()
        )

    for _ in range(5):
        free = [other(p) if i % 2 and p else p for i, p in enumerate(pieces)]
        assert masked("".join(free)) == stored
    for i, piece in enumerate(pieces[::2]):
        for found in re.finditer(r"\d+", piece):
            changed = piece[: found.start()] + str(int(found[0]) + 1) + piece[found.end() :]
            assert masked("".join([*pieces[: 2 * i], changed, *pieces[2 * i + 1 :]])) != stored


@pytest.mark.parametrize(
    ("stored", "printed"),
    [
        ("≈ 0.1 0.2 0.3", "≈ 0.1 0.2"),
        ("≈ 0.1", "0.1"),
        ("≈ 0.1", "= 0.1"),
        ("≈ 0.1", "≈ nan"),
        ("≈ 0.1", "≈ inf"),
        ("≈ 0.1 of z", "≈ 0.1 of h"),
        ("≈ 0.1 ms", "≈ 0.1 s"),
        ("≈ 0.1 to 0.2", "≈ 0.1 and 0.2"),
        ("≈ 0.1\n", "≈ 0.1\n\n"),
    ],
)
def test_what_is_no_number_is_compared(stored, printed):
    assert masked(stored) != masked(printed)


def test_room_that_a_longer_number_takes_is_not_compared():
    lines = ["a ≈ {:6.2f}  b", "a ≈ {:<8.3g}b", "{:>9} c", "≈ [{:5.1f} 1.0]", "≈ {:g}  \nd"]
    for line in lines:
        texts = [line.format(f"≈ {x}" if ">" in line else x) for x in (7.0, -123.25)]
        assert masked(texts[0]) == masked(texts[1])


def numbers(text: str) -> list[tuple[re.Match, bool]]:
    """Return the numbers of a stored output, and whether each stands behind a sign ≈.

    As stored outputs are, and without the rule of `masked`: between the sign and the number stand
    other numbers perhaps, but no letter, and the line does not end.
    """
    found = []
    for number in re.finditer(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?", text):
        _, sign, between = text[: number.start()].rpartition("≈")
        found.append((number, bool(sign) and not re.search(r"[^\W\d_]|\n", _no_exponent(between))))
    return found


def _no_exponent(text: str) -> str:
    return re.sub(r"(?<=\d)e[-+]\d+", "", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_number_of_a_stored_output_is_masked_or_compared_as_its_sign_says(path):
    draw, free, held = random.Random(0), 0, 0
    for cell in notebooks.code_cells(notebooks.read_notebook(path)):
        for output in cell.outputs:
            for text in [output.get("text", ""), *output.get("data", {}).values()]:
                text = re.sub('src="[^"]*"', "", text)
                stored, every = masked(text), text
                for number, may_change in reversed(numbers(text)):
                    digits = len(number[0].partition(".")[2])
                    new = number[0]
                    while new == number[0]:
                        new = f"{draw.uniform(0, 2000):,.{digits}f}"
                    one = text[: number.start()] + new + text[number.end() :]
                    assert (masked(one) == stored) is may_change, (cell.id, one)
                    if may_change:
                        every = every[: number.start()] + new + every[number.end() :]
                    free, held = free + may_change, held + (not may_change)
                assert masked(every) == stored
    assert free >= 20
    assert held >= 20
