"""A claim of the prose, checked where it stands.

A lesson says something about a number that another machine or seed may change; the cell beside it
calls `claim`, which prints one line that stays the same as long as the claim holds. The number
itself follows the sign ≈, which marks what the comparison of notebooks leaves out.
"""

import math
import re
from typing import NamedTuple

from mmlite import checks

HOLDS = "✓ claim: "
FAILS = "✗ claim fails: "


def claim(
    statement: str, value: float, *, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Print in a line whether a measured value bears a statement out.

    Args:
        statement: the claim, as a sentence without its full stop.
        value: what was measured. NaN bears out nothing.
        at_least, at_most: the bounds within which the claim holds; at least one of them.

    Raises:
        ValueError: no bound is given, the statement is more than a line, or a number is none.
    """
    if not isinstance(statement, str) or statement.splitlines() != [statement]:
        raise ValueError(f"a claim's statement is one line, got {statement!r}")
    if at_least is None and at_most is None:
        raise ValueError("a claim needs a bound: at_least=, at_most= or both")
    value = value.item() if getattr(value, "shape", None) == () else value
    if not isinstance(value, float) or not math.isnan(value):
        value = checks.real("value", value, finite=False)
    low = -math.inf if at_least is None else checks.real("at_least", at_least, finite=False)
    high = math.inf if at_most is None else checks.real("at_most", at_most, finite=False)
    holds = bool(low <= value <= high)
    bounds = [] if at_least is None else [f"≥ {at_least:g}"]
    bounds += [] if at_most is None else [f"≤ {at_most:g}"]
    print(
        f"{HOLDS if holds else FAILS}{statement} "
        f"(must be {' and '.join(bounds)}; measured ≈ {float(value):.3g})"
    )


class Claim(NamedTuple):
    """One printed claim: whether it holds, and its line without the sign."""

    holds: bool
    text: str


def read_claims(text: str) -> list[Claim]:
    """Return the claims that a cell printed, in order."""
    lines = re.findall(f"^({HOLDS}|{FAILS})(.*)$", text, flags=re.MULTILINE)
    return [Claim(sign == HOLDS, rest) for sign, rest in lines]
