"""A waterfall: how a number comes about from another by steps up and down."""

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.figure import Figure

from mmlite.course.picture import Picture
from mmlite.course.plots import COLORS, LOOK
from mmlite.support import checks


def waterfall(accounts: Mapping[str, Mapping[str, float]], total: str, alt: str) -> Picture:
    """Draw accounts side by side, each a first number, steps from it, and what they come to.

    Args:
        accounts: for each panel's title the first number and the steps, by name, in order; all
            have the same names.
        total: the name of their sum.
        alt: alternative text.

    Raises:
        ValueError: there is no account, they have other names, or an argument is another thing.
    """
    wanted = "a mapping from titles to mappings from names to numbers"
    if not isinstance(accounts, Mapping) or not accounts:
        raise checks.wrong("accounts", wanted, accounts)
    for title, steps in accounts.items():
        checks.text("a title of accounts", title)
        if not isinstance(steps, Mapping) or not steps:
            raise checks.wrong("accounts", wanted, steps)
    names = list(next(iter(accounts.values())))
    if any(list(steps) != names for steps in accounts.values()):
        raise ValueError("accounts must have the same names in the same order")
    checks.text("total", total)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(2.3 * len(accounts) + 1, 3.4), layout="constrained")
        panels = figure.subplots(1, len(accounts), sharey=True, squeeze=False)[0]
        for axes, (title, steps) in zip(panels, accounts.items(), strict=True):
            heights = [checks.real(f"accounts[{title!r}][{n!r}]", steps[n]) for n in names]
            level = 0.0
            for place, height in enumerate(heights):
                color = COLORS[6] if place == 0 else COLORS[1] if height > 0 else COLORS[2]
                axes.bar(place, height, bottom=level, color=color, width=0.7)
                level += height
                axes.plot([place - 0.35, place + 1.35], [level, level], color="#888", linewidth=0.8)
            axes.bar(len(names), level, color=COLORS[0], width=0.7)
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_xticks(range(len(names) + 1), [*names, total])
            axes.set_title(f"{title}\n{total} = {level:.2f}", fontsize=10)
            axes.grid(axis="x", visible=False)
        low = min(axes.dataLim.y0 for axes in panels)
        high = max(axes.dataLim.y1 for axes in panels)
        panels[0].set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        panels[0].set_ylabel("nats")
        return Picture(figure, alt)
