"""What of a student's notebook is run: the answer, and whatever in the notebook the answer needs.

The training cells would take minutes and are not what is marked. So of all top-level statements
only those run that bind the answer's name or a name it uses, or one that these use, and so on; and
those that change what such a name holds: `table[1] = 5`, `T.append(3)` in a loop, `setup()` whose
body sets it. They run from top to bottom, so the last definition of a name holds, as in Jupyter; a
statement that fails is tried again after the others, so cells may stand in any order. This file
runs in the sandbox.
"""

import __future__

import ast
import asyncio
import contextlib
import inspect
import signal
import symtable
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmlite.grading.guest.cells import Cells
from mmlite.grading.guest.changes import changes, known
from mmlite.grading.guest.likeness import likeness

SHELL = "get_ipython"  # what IPython makes of its own lines is a call of this
PASSES = 5  # a statement that still fails then is out of more than order
UNSURE = 2.0  # seconds of a processor for a statement that may not be needed
UNSURE_ALL = 8.0  # for those that took longer, together


@dataclass
class Statement:
    """A top-level statement with the names it binds, those it uses, and those it changes."""

    cell: int
    node: ast.stmt
    file: str
    binds: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)


def statements(cells: Cells) -> list[Statement]:
    """Return a notebook's statements with the names that each binds, uses and changes."""
    parsed = [one for one in cells.statements if not isinstance(one.node, ast.Delete)]
    names = known([one.node for one in parsed])
    return [
        Statement(one.cell, one.node, one.file, *_names(one.node), changes(one.node, names))
        for one in parsed
    ]


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the names a statement binds in its module, and those it reads from there."""
    if isinstance(node, ast.ImportFrom) and (
        node.names[0].name == "*" or node.module == "__future__"
    ):
        return {"*"}, set()
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    binds = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    uses = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = top.get_children()
    while tables:
        table = tables.pop()
        uses |= {s.get_name() for s in table.get_symbols() if s.is_global()}
        tables += table.get_children()
    return binds, uses


def defined(found: Iterable[Statement]) -> set[str]:
    """Return the names that statements bind."""
    return set().union(*(one.binds for one in found))


def needed(found: list[Statement], name: str) -> tuple[list[Statement], list[Statement]]:
    """Return the statements that `name` needs, in order, and those of them that may be too many.

    What binds a name that is needed has to run; what seems to change it may only seem to.
    """
    sure = _closure(found, name, lambda one: one.binds)
    chosen = _closure(found, name, lambda one: one.binds | one.changes)
    known_well = set(map(id, sure))
    return chosen, [one for one in chosen if id(one) not in known_well]


def _closure(
    found: list[Statement], name: str, gives: Callable[[Statement], set[str]]
) -> list[Statement]:
    names, size = {name, "*"}, 0
    while len(names) > size:
        size = len(names)
        for one in found:
            if gives(one) & names:
                names |= one.uses
    return [one for one in found if gives(one) & names]


def alike(chosen: list[Statement], name: str) -> tuple[str, int]:
    """Return a digest of an answer that renaming does not change, and its size in nodes."""
    nodes = [one.node for one in chosen if not isinstance(one.node, (ast.Import, ast.ImportFrom))]
    kept = set().union(*(one.binds for one in chosen if one.node not in nodes)) | {name}
    try:
        return likeness(nodes, kept)
    except (RecursionError, MemoryError, ValueError, SyntaxError):
        return "", 0


def left_out(chosen: list[Statement]) -> list[tuple[int, str]]:
    """Return cell and text of the commands and magics among statements, which do nothing here."""
    return [
        (one.cell, f"{_shown(call)}")
        for one in chosen
        for call in ast.walk(one.node)
        if isinstance(call, ast.Call) and _is_shell(call)
    ]


def _is_shell(call: ast.Call) -> bool:
    on = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(on, ast.Call) and isinstance(on.func, ast.Name) and on.func.id == SHELL


def _shown(call: ast.Call) -> str:
    """Return a command as it was typed, or nearly so."""
    sign = {"system": "!", "getoutput": "!", "run_line_magic": "%", "run_cell_magic": "%%"}
    words = [one.value for one in call.args[:2] if isinstance(one, ast.Constant)]
    typed = " ".join(str(word) for word in words).strip()
    return sign.get(getattr(call.func, "attr", ""), "") + typed


def run(
    chosen: list[Statement], namespace: dict[str, Any], unsure: Sequence[Statement] = ()
) -> list[tuple[Statement, str]]:
    """Run statements in `namespace` and return those that failed, each with its error.

    One that fails runs again after the rest, while that helps. Those of which it is unsure that
    they are needed get a moment: a training among them costs no answer its time.
    """
    ended: list[tuple[Statement, str]] = []
    failed: list[tuple[Statement, str]] = []
    left, hasty = UNSURE_ALL, set(map(id, unsure))
    waiting, flags = chosen, _future_flags(chosen) | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for _ in range(PASSES):
        failed = []
        for one in waiting:
            moment = min(UNSURE, left) if id(one) in hasty else None
            try:
                module = ast.Module([one.node], type_ignores=[])
                code = compile(module, one.file, "exec", flags, dont_inherit=True)
                with hurried(moment):
                    _run_code(code, namespace)
            except TooLongError:
                left -= moment or 0
                ended.append((one, "it took too long, and the answer seems not to need it"))
            except BaseException as error:  # also exits, and whatever else a student's line raises
                failed.append((one, describe(error)))
        if len(failed) in (0, len(waiting)):
            break
        waiting = [one for one, _ in failed]
    return ended + failed


class TooLongError(BaseException):
    """A statement was ended; no `except Exception` of its own keeps it."""


@contextlib.contextmanager
def hurried(seconds: float | None) -> Iterator[None]:
    """End what stands within by `TooLongError` after so many seconds of a processor, if given.

    A system without such a clock lets it run.
    """

    def end(signum, frame):
        raise TooLongError

    if seconds is None or not hasattr(signal, "SIGPROF"):
        yield
        return
    if seconds <= 0:
        raise TooLongError
    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _run_code(code: Any, namespace: dict[str, Any]) -> None:
    """Run a statement's code; one that awaits, as a notebook's cells may, in a loop of its own."""
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)


def _future_flags(chosen: list[Statement]) -> int:
    """Return the compiler's flags for what is imported from `__future__`, for all cells."""
    imports = [one.node for one in chosen if isinstance(one.node, ast.ImportFrom)]
    names = {alias.name for n in imports if n.module == "__future__" for alias in n.names}
    flags = 0
    for name in names & set(__future__.all_feature_names):
        flags |= getattr(__future__, name).compiler_flag
    return flags


def describe(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    first = (message(error).splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def message(error: BaseException) -> str:
    """Return an exception's message, or nothing if it has no safe one."""
    try:
        return str(error)
    except BaseException:  # a hostile __str__
        return ""
