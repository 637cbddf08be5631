"""Numbers to compare, in a table that is text: as readable in a terminal and to a screen reader."""

from collections.abc import Mapping
from typing import Any

from mmlite.support import checks
from mmlite.support.columns import aligned

WIDEST = 90  # characters that a notebook's page shows without scrolling


def table(rows: Mapping[str, Mapping[str, float]], form: str = ".3f") -> None:
    """Print numbers that another machine may change, one row a name, each behind a sign ≈.

    Args:
        rows: for each row's name its numbers, or tensors of one, by their columns' names; a row
            may lack some.
        form: how a number is written, as in an f-string.

    Raises:
        ValueError: there is nothing to show, something is no number, `form` is none for numbers,
            or a line would be longer than 90 characters.

    Example:
        >>> from mmlite.course.tables import table
        >>> table({"pixels": {"kNN": 0.8, "probe": 0.82}, "network": {"probe": 0.853}})
                     kNN    probe
        pixels   ≈ 0.800  ≈ 0.820
        network           ≈ 0.853
    """
    if not isinstance(rows, Mapping) or not rows:
        raise checks.wrong("rows", "a mapping from names to numbers by their names", rows)
    for name, row in rows.items():
        if not isinstance(name, str) or not isinstance(row, Mapping) or not row:
            raise checks.wrong("rows", "a mapping from names to numbers by their names", row)
    checks.text("form", form)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [["", *columns]]
    for name, row in rows.items():
        cells = [_written(row[column], column, form) if column in row else "" for column in columns]
        lines.append([name, *cells])
    for text in aligned(lines):
        if len(text) > WIDEST:
            raise ValueError(
                f"a row of {len(text)} characters is wider than a page, which shows {WIDEST}: "
                "shorten the names of rows or columns, or make two tables"
            )
        print(text)


def _written(value: Any, column: str, form: str) -> str:
    value = value.item() if getattr(value, "shape", None) == () else value
    number = checks.real(f"rows[…][{column!r}]", value, finite=False)
    try:
        return f"≈ {number:{form}}"
    except ValueError as error:
        raise checks.wrong("form", "a number's format, such as .3f", form) from error
