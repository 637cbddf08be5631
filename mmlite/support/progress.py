"""Progress bars, in a terminal and in a notebook, and a curve of a few characters to put in one."""

import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmlite.support.shell import in_notebook

if TYPE_CHECKING:
    from tqdm import tqdm

INTERVAL = 1.0  # seconds between two drawings
LEVELS = "▁▂▃▄▅▆▇█"


def progress_bar(
    unit: str, total: int | None = None, *, begun: int = 0, title: str = "", quiet: bool = False
) -> "tqdm":
    """Return a progress bar that is drawn once a second and goes when it is done.

    In a notebook each drawing is several messages, and a client that does not read them while a
    cell runs (nbval, nbconvert) loses what comes after the first two thousand.

    Args:
        unit: what is counted.
        total: how many there are, if that is known.
        begun: how many were done before.
        title: what stands before the bar.
        quiet: draw nothing.
    """
    from tqdm.auto import tqdm  # here, for `mmlite --help` needs none

    kind = tqdm
    if in_notebook():  # elsewhere nobody should wait for ipywidgets
        from tqdm.notebook import tqdm_notebook

        # without ipywidgets a notebook has a terminal's bar
        kind = _passing(tqdm) if issubclass(tqdm, tqdm_notebook) else tqdm
    return kind(
        total=total,
        initial=begun,
        desc=title or None,
        unit=unit,
        disable=quiet,
        leave=False,
        mininterval=INTERVAL,
    )


def _passing(tqdm: type) -> type:
    """Return a notebook's bar that leaves no widget behind, which no kernel could show tomorrow."""
    from IPython.display import display

    class Passing(tqdm):
        shown = None

        def __init__(self, *arguments, **named) -> None:
            super().__init__(*arguments, display=False, **named)
            if not self.disable:
                self.shown = display(self.container, display_id=True)

        def close(self) -> None:
            super().close()
            if self.shown is not None:
                self.shown.update({}, raw=True)  # in the widget's place: nothing
                self.shown = None

    return Passing


def curve(values: Sequence[float], width: int = 12) -> str:
    """Return numbers as a curve of at most `width` characters, each the mean of an equal part.

    The lowest part is the lowest character, the highest the highest. It is empty where standard
    error, to which bars are written, has no such characters.

    Args:
        values: finite numbers, in order.
        width: how many characters at most.
    """
    try:
        LEVELS.encode(getattr(sys.stderr, "encoding", None) or "utf-8")
    except (LookupError, UnicodeEncodeError):
        return ""
    parts = min(width, len(values))
    ends = [len(values) * part // parts for part in range(parts + 1)] if parts else []
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    if low == high:
        return LEVELS[0] * parts
    return "".join(LEVELS[round((len(LEVELS) - 1) * (mean - low) / (high - low))] for mean in means)
