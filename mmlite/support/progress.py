"""Progress bars, in a terminal and in a notebook."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


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

    return tqdm(
        total=total,
        initial=begun,
        desc=title or None,
        unit=unit,
        disable=quiet,
        leave=False,
        mininterval=1.0,
    )
