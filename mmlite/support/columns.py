"""Text in columns."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row: the first column to the left, the others to the right.

    Args:
        rows: the cells; all rows have the same number of them.

    Example:
        >>> aligned([["", "kNN"], ["pixels", "0.8"]])
        ['        kNN', 'pixels  0.8']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [f"{first:{widths[0]}}"]
            + [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        ).rstrip()
        for first, *rest in rows
    ]
