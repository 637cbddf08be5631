"""A student's function, as it stands in a notebook: where it raised, and whether it is the newest.

An answer is called on several inputs; what it prints is shown once.
"""

import ast
import contextlib
import functools
import inspect
import io
import linecache
import re
import traceback
from collections.abc import Callable
from typing import Any

from mmlite.support.shell import running_shell


def raised_at(error: BaseException, function: Callable[..., Any]) -> str:
    """Return the line of a function, or of its cell, in which an error arose, as words to append.

    Nothing where it is not known: for a function of another process, or one without Python code.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not own:
        return ""
    line = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f", in line {own[-1].lineno}: {line}" if line else f", in line {own[-1].lineno}"


def showing_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose prints are shown the first time that it is called, and not later."""
    calls = iter(range(1))

    @functools.wraps(function)
    def shown(*arguments, **named):
        first = next(calls, None) is not None
        with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
            return function(*arguments, **named)

    return shown


def newest_did_not_run(name: str, function: Any) -> str | None:
    """Return why a function is not what the newest cell that defines it says, or None if it is.

    That cell is no Python, or raised before the definition; then the name still means what an
    earlier cell made of it. Outside IPython nothing is known.
    """
    shell = running_shell()
    history = getattr(shell, "history_manager", None)
    if history is None:
        return None
    cells = [cell.strip("\n") for cell in history.input_hist_parsed]
    newest = next((cell for cell in reversed(cells) if _defines(cell, name)), None)
    if newest is None:
        return None
    try:
        ast.parse(newest)
    except SyntaxError as error:
        place = f"line {error.lineno}: {(error.text or '').strip()}"
        return f"{type(error).__name__}: {error.msg} ({place})"
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    made_by = "".join(linecache.getlines(code.co_filename)).strip("\n") if code else newest
    if made_by in cells and made_by != newest:
        return "an error stopped it before it came to the function"
    return None


def _defines(cell: str, name: str) -> bool:
    return re.search(rf"^\s*(async\s+)?def\s+{re.escape(name)}\b", cell, re.M) is not None
