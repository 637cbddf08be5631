"""A claim of the prose, checked where it stands.

A lesson says something about a number that another machine or seed may change; the cell beside it
calls `claim`, which prints a line that stays the same as long as the claim holds. The number
itself follows the sign ≈, which marks what the comparison of notebooks leaves out; `masked` says
how far the sign reaches.
"""

import math
import re
from typing import Any, NamedTuple

from mmlite.course.tables import WIDEST
from mmlite.support import checks
from mmlite.support.shell import sign

HOLDS = "✓ claim: "
FAILS = "✗ claim fails: "
NEXT_LINE = "\n  "
NUMBERS = "(must be "
LONGEST = "-1.23e-45"  # that three digits take


def claim(
    statement: str, value: float, *, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Print whether a measured value bears a statement out, in a line or, if it is long, in two.

    Args:
        statement: the claim, as a sentence without its full stop.
        value: what was measured. With NaN no claim holds.
        at_least: the least value with which the claim holds; None for no bound.
        at_most: the greatest; one of both bounds has to be given.

    Raises:
        ValueError: no bound is given, the statement is more than a line, or a bound is no number.

    Example:
        >>> mmlite.claim("two is more than one", 2, at_least=1)
        ✓ claim: two is more than one...
    """
    if not isinstance(statement, str) or statement.splitlines() != [statement]:
        raise ValueError(f"a claim's statement is one line, got {statement!r}")
    if at_least is None and at_most is None:
        raise ValueError("a claim needs a bound: at_least=, at_most= or both")
    number: Any = value
    number = number.item() if getattr(number, "shape", None) == () else number
    if not isinstance(number, float) or not math.isnan(number):
        number = checks.real("value", number, finite=False)
    low = -math.inf if at_least is None else checks.real("at_least", at_least, finite=False)
    high = math.inf if at_most is None else checks.real("at_most", at_most, finite=False)
    holds = bool(low <= number <= high)
    bounds = [] if at_least is None else [f"≥ {at_least:g}"]
    bounds += [] if at_most is None else [f"≤ {at_most:g}"]
    said = f"{HOLDS if holds else FAILS}{statement}"
    numbers = f"{NUMBERS}{' and '.join(bounds)}; measured ≈ "
    # what another machine measures must not move the line's end
    fits = len(f"{said} {numbers}{LONGEST})") <= WIDEST
    shown = said if holds else said.replace("✗", sign("✗"), 1)
    print(f"{shown}{' ' if fits else NEXT_LINE}{numbers}{float(number):.3g})")


class Claim(NamedTuple):
    """One printed claim: whether it holds, and its first line without the sign."""

    holds: bool
    text: str

    @property
    def statement(self) -> str:
        """What is claimed, without the numbers that stand behind it if there is room."""
        return self.text.partition(f" {NUMBERS}")[0]


def read_claims(text: str) -> list[Claim]:
    """Return the claims that a cell printed, in order."""
    lines = re.findall(f"^({HOLDS}|{FAILS})(.*)$", text, flags=re.MULTILINE)
    return [Claim(sign == HOLDS, rest) for sign, rest in lines]


# -0.25, 1,973, 0:12, 1e-05, 10⁻⁵; also 1,2,3, which need not be told apart
NUMBER = re.compile(r"[-+−]?\.?\d+(?:[.,:]\d+)*(?:[eE][-+−]?\d+)?[⁻⁺]?[⁰¹²³⁴-⁹]*")
WHOLE = re.compile(r"[-+−]?[\d,]+")
UNIT = re.compile(
    r"(?:(?:[kKMGT]i?B|B|[kMGT]?Hz|[mµμun]?s|min|h|[MGT]?FLOP)(?:/s)?|x|percent|seconds?|minutes?)"
    r"(?!\w)|[%‰°]"
)
WORD = re.compile(r"(?:and|or|to|vs)\b")
SIGN = re.compile(r"\.{2,}|(?:tensor|array)(?=\()|[-+−±,;|/–—…×·^()\[\]{}]")
COUNTED = re.compile(rf"[ \t]*(?!{UNIT.pattern}|{WORD.pattern})[^\W\d_]")
BLANK, IN_BRACKETS = re.compile(r"[ \t]*"), re.compile(r"\.?\s*")  # NumPy prints [0. 1.]


def masked(text: str) -> str:
    """Return a notebook's output with # for each number that another machine may change.

    These are the numbers behind a sign ≈: the one that follows it, and those that follow that one
    in a row, as in "≈ 0.1, 0.2 and 0.3", "≈ 0.71 ± 0.02", "≈ 3–5 %", "≈ 12 ms to 15 ms",
    "≈ 0.4 (0.3 to 0.5)" and "≈ [0.1 0.2]". Between two numbers of a row stand only blanks, units,
    signs of punctuation and the words and, or, to, vs. What ends a row:

    - any other word, as in "≈ 50.8 of 128";
    - a colon, an equals sign, a full stop, another ≈;
    - the end of the line, or of brackets, that the sign stands in;
    - a comma, semicolon or bracket, and then a whole number of something where the row began with
      a fraction, as in "≈ 8.5, 8.9 (2 seeds)".

    How many numbers there are is compared; how far things stand apart is not, for a longer number
    takes more room, and moves the name of its column.
    """
    first, *parts = re.split(r"[ \t]*≈", text)
    return re.sub(r"[ \t]+", " ", " ≈".join([first, *(_mask_row(part) for part in parts)]))


def _mask_row(text: str) -> str:
    """Mask the row of numbers that a text begins with."""
    tokens: list[str] = []
    row, end, open_brackets, begins_whole = 0, 0, 0, True
    while True:
        blank = (IN_BRACKETS if open_brackets else BLANK).match(text, end)
        place = blank.end() if blank else end
        if found := NUMBER.match(text, place):
            whole = bool(WHOLE.fullmatch(found[0]))
            begins_whole = begins_whole if row else whole
            counts = whole and not begins_whole and COUNTED.match(text, found.end())
            if counts and tokens[-1] in (",", ";", "("):
                break
            tokens.append("#")
            row, last = len(tokens), found.end()
        elif found := WORD.match(text, place) or SIGN.match(text, place):
            open_brackets += (found[0] in "([{") - (found[0] in ")]}")
            if open_brackets < 0:
                break
            # a minus may be the number's own
            tokens += [] if found[0] in "-+−" else [found[0]]
        elif row and (found := UNIT.match(text, place)):
            tokens.append(found[0])
        else:
            break
        end = found.end()
    if not row:
        return text
    return f" {' '.join(tokens[:row])} " + text[last:].lstrip(" \t")
