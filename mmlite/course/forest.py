"""A forest plot: several differences with their intervals, one below the other."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl

from mmlite.course.picture import Picture
from mmlite.course.plots import COLORS, LOOK, axes_of
from mmlite.support import checks


def forest(
    differences: Mapping[str, Sequence[float]],
    xlabel: str,
    alt: str,
    margin: float | None = None,
    shown: int = 0,
) -> Picture:
    """Draw differences with their intervals, from the top down, against the line of no difference.

    Args:
        differences: for each name (mean, low, high).
        xlabel: what is measured, and its unit.
        alt: alternative text.
        margin: the least difference that would matter; what is less in size is shaded.
        shown: how many of the first differences are set apart by color, as the primary ones.

    Raises:
        ValueError: there is no difference, or an argument is another thing.
    """
    if not isinstance(differences, Mapping) or not differences:
        raise checks.wrong("differences", "a mapping from names to (mean, low, high)", differences)
    rows = {
        checks.text("a name in differences", name): _interval(one)
        for name, one in differences.items()
    }
    checks.text("xlabel", xlabel)
    margin = None if margin is None else checks.real("margin", margin, above=0)
    shown = checks.whole("shown", shown, 0, len(rows))
    with mpl.rc_context(LOOK):
        figure, axes = axes_of(7.5, 0.7 + 0.28 * len(rows))
        if margin is not None:
            axes.axvspan(-margin, margin, color="#eeeeee", zorder=0)
        axes.axvline(0, color="black", linewidth=1)
        for place, (mean, low, high) in enumerate(rows.values()):
            color = COLORS[1] if place < shown else COLORS[0]
            axes.plot([low, high], [place, place], color=color, linewidth=1.6)
            axes.plot([mean], [place], marker="s", color=color, markersize=5)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=xlabel)
        return Picture(figure, alt)


def _interval(value: Sequence[float]) -> tuple[float, float, float]:
    wanted = "three numbers, the mean within its interval"
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 3:
        raise checks.wrong("each of differences", wanted, value)
    mean, low, high = (checks.real("a number of differences", one) for one in value)
    if not low <= mean <= high:
        raise checks.wrong("each of differences", wanted, f"{mean:g} in {low:g} to {high:g}")
    return mean, low, high
