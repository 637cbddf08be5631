"""Whether a notebook runs this, and the signs that verdicts begin with."""

import os
import sys
from typing import Any

COLORS = {"✓": 32, "✗": 31}  # green and red, as each theme and terminal has them


def running_shell() -> Any:
    """Return IPython's shell that runs this, or None outside IPython."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    return hasattr(running_shell(), "kernel")


def sign(mark: str) -> str:
    """Return a verdict's sign, colored in a notebook and a terminal (not if NO_COLOR is set)."""
    shows = in_notebook() or sys.stdout.isatty()
    if not shows or os.environ.get("NO_COLOR"):
        return mark
    return f"\x1b[{COLORS[mark]}m{mark}\x1b[0m"
