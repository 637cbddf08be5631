"""From a notebook's bytes to Python's statements, as IPython reads its cells.

This file runs in the sandbox: it may meet any bytes.
"""

import ast
import json
import linecache
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# magics whose argument or body is Python, and is run as such
LINES_OF_PYTHON = {"time", "timeit", "prun", "memit", "mprun", "lprun", "debug"}
OTHER_LANGUAGES = {
    "bash", "sh", "script", "html", "HTML", "javascript", "js", "latex", "markdown", "svg", "SVG",
    "writefile", "file", "perl", "ruby", "cmd", "pypy", "python2", "sql", "R", "julia", "cython",
}  # fmt: skip
# what is typed without its sign: a magic where the cell has one line, an error where it has more
COMMAND = re.compile(r"^(?:pip|conda|mamba|uv|apt|git|cd|ls|ll|mkdir|rm|cp|mv|cat|wget)\s+[^=(]*$")


class NotebookError(Exception):
    """The bytes are not a notebook; the sentence says why."""


@dataclass(frozen=True)
class Parsed:
    """A top-level statement: the cell it stands in, and the name of its source for tracebacks."""

    cell: int
    node: ast.stmt
    file: str


@dataclass
class Cells:
    """A notebook's statements in order, and in sentences what was wrong with its cells.

    Attributes:
        statements: of the cells that are Python.
        notes: for student and teacher.
        broken: sources that are not Python, by cell.
    """

    statements: list[Parsed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)


def read(data: bytes, wanted: set[str]) -> Cells:
    """Return the statements of a notebook of any format.

    Args:
        data: the file.
        wanted: the functions asked for. One that no code cell defines is looked for in cells of
            other types, which a slip of a key makes.

    Raises:
        NotebookError: it is not a notebook.
    """
    found = Cells()
    sources = list(enumerate(_sources(_parse(data, found.notes)), start=1))
    for number, (kind, text) in sources:
        if kind == "code":
            _add(found, number, text)
    missing = wanted - set().union(*(_bound(one.node) for one in found.statements))
    for number, (kind, text) in sources:
        meant = kind != "code" and any(re.search(rf"^\s*def\s+{n}\b", text, re.M) for n in missing)
        if meant and _add(found, number, text):
            found.notes.append(f"cell {number} is a {kind} cell; it was read as code")
    found.statements.sort(key=lambda one: one.cell)  # stable: of a cell they stay in order
    return found


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a statement gives to something, in whatever blocks."""
    named = {name for one in ast.walk(node) if (name := getattr(one, "name", None)) is not None}
    names = (one for one in ast.walk(node) if isinstance(one, ast.Name))
    return named | {one.id for one in names if isinstance(one.ctx, ast.Store)}


def _add(found: Cells, number: int, text: str) -> bool:
    """Add a cell's statements, or a note why there are none; return if it is Python."""
    try:
        found.statements += _statements(number, text)
    # a hostile cell can fail in many ways inside the parser; it costs only itself
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        what = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        if "f-string" in what and sys.version_info < (3, 12):
            what += "; newer Pythons may read it, but this is Python {}.{}".format(
                *sys.version_info
            )
        found.notes.append(f"cell {number} is not Python{line}: {what}")
        found.broken[number] = text
        return False
    return True


def _parse(data: bytes, notes: list[str]) -> dict[str, Any]:
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError:
        utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = data.decode("utf-16" if utf16 else "latin-1", errors="replace")
        notes.append(f"the file is not UTF-8; it was read as {'UTF-16' if utf16 else 'Latin-1'}")
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotebookError("the file is not a notebook: it is not JSON") from error
    if not isinstance(notebook, dict) or not ({"cells", "worksheets"} & set(notebook)):
        raise NotebookError("the file is not a notebook: it has no cells")
    return notebook


def _sources(notebook: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return type and source of each cell; formats 1 to 3 say worksheets and input."""
    for sheet in [notebook, *_list(notebook.get("worksheets"))]:
        for cell in _list(sheet.get("cells") if isinstance(sheet, dict) else None):
            if isinstance(cell, dict):
                lines = cell.get("source", cell.get("input", ""))
                text = "".join(str(line) for line in lines) if isinstance(lines, list) else lines
                yield str(cell.get("cell_type", "code"))[:20], str(text)


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


# as IPython reads it


def _statements(cell: int, text: str, part: str = "") -> list[Parsed]:
    """Return a cell's statements, those that a magic only times or captures among them."""
    source = python(text)
    file = f"<cell {cell}{part}>"
    # so that `inspect` and torch.jit find the source, as in a notebook
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    found = []
    for number, node in enumerate(ast.parse(source).body):
        if inner := _inner(node):
            found += _statements(cell, inner, f"{part}.{number}")
        else:
            found.append(Parsed(cell, node, file))
    return found


def python(text: str) -> str:
    """Return what IPython makes of a cell: its own lines (%magic, !shell, help?) become calls."""
    try:
        from IPython.core.inputtransformer2 import TransformerManager
    except ImportError:  # in a container's image, say, without it
        return text
    made = TransformerManager().transform_cell(text)
    try:
        ast.parse(made)
    except SyntaxError:
        if not re.search(COMMAND.pattern, text, re.M):
            raise
        signed = "\n".join(f"%{line}" if COMMAND.match(line) else line for line in text.split("\n"))
        made = TransformerManager().transform_cell(signed)
    return made


def _inner(node: ast.stmt) -> str | None:
    """Return the Python that a magic runs, if a statement is such a magic's call."""
    match node:
        case ast.Expr(
            ast.Call(
                ast.Attribute(ast.Call(ast.Name("get_ipython")), kind),
                [ast.Constant(str(name)), ast.Constant(str(line)), *rest],
            )
        ):
            if kind == "run_line_magic" and name in LINES_OF_PYTHON:
                return re.sub(r"^(?:\s*-\w+(?:\s+\d+)?)*\s*", "", line)
            if kind == "run_cell_magic" and name not in OTHER_LANGUAGES and rest:
                body = ast.literal_eval(rest[0])
                return body if _is_python(body) else None
    return None


def _is_python(text: str) -> bool:
    try:
        ast.parse(python(text))
    except (SyntaxError, ValueError):
        return False
    return True
