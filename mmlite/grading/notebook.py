"""What of a student's notebook is run: the answer, and whatever in the notebook the answer needs.

The training cells would take minutes and are not what is marked. So of all top-level statements
only those run that bind the answer's name or a name it uses, or one that these use, and so on.
`table[1] = 5` and `config.eps = 3` bind too; bare calls never run. They run from top to bottom, so
the last definition of a name holds, as in Jupyter; a statement that fails is tried again after the
others, so cells may stand in any order. This file runs in the sandbox: it may meet any bytes.
"""

import __future__

import ast
import json
import re
import symtable
from dataclasses import dataclass, field
from typing import Any

PASSES = 5  # a statement that still fails then is out of more than order


class NotebookError(Exception):
    """The bytes are not a notebook; the sentence says why."""


@dataclass
class Statement:
    """A top-level statement of cell `cell`: the names it binds and those it uses."""

    cell: int
    node: ast.stmt
    binds: set[str]
    uses: set[str]


@dataclass
class Source:
    """A notebook's statements in order, and in sentences what was wrong with its cells."""

    statements: list[Statement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)  # sources that are not Python, by cell


def read(data: bytes, wanted: set[str]) -> Source:
    """Return the statements of a notebook of any format.

    Args:
        data: the file.
        wanted: the functions asked for; a cell that defines one is read whatever its type.

    Raises:
        NotebookError: it is not a notebook.
    """
    source = Source()
    for number, (kind, text) in enumerate(_cells(_parse(data, source.notes)), start=1):
        defines = any(re.search(rf"^\s*def\s+{name}\b", text, re.MULTILINE) for name in wanted)
        if kind != "code" and not defines:
            continue
        try:
            statements = _statements(number, plain_python(text))
        # a hostile cell can fail in many ways inside the parser; it costs only itself
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            what = error.msg if isinstance(error, SyntaxError) else type(error).__name__
            source.notes.append(f"cell {number} is not Python{line}: {what}")
            source.broken[number] = text
            continue
        if kind != "code":
            source.notes.append(f"cell {number} is a {kind} cell; it was read as code")
        source.statements += statements
    return source


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


def _cells(notebook: dict[str, Any]) -> list[tuple[str, str]]:
    """Return type and source of each cell; formats 1 to 3 say worksheets and input."""
    found = []
    for sheet in [notebook, *_list(notebook.get("worksheets"))]:
        for cell in _list(sheet.get("cells") if isinstance(sheet, dict) else None):
            if isinstance(cell, dict):
                lines = cell.get("source", cell.get("input", ""))
                text = "".join(str(line) for line in lines) if isinstance(lines, list) else lines
                found.append((str(cell.get("cell_type", "code"))[:20], str(text)))
    return found


def _list(value: Any) -> list:
    return value if isinstance(value, list) else []


def plain_python(text: str) -> str:
    """Return a cell's source with IPython's own lines (%magic, !shell, help?) replaced by pass."""
    try:
        ast.parse(text)
        return text
    except SyntaxError:
        if re.match(r"\s*%%(?!(time|timeit|capture|prun)\b)", text):
            return ""  # a cell of another language
        own = re.compile(r"^(\s*)(?:[%!?].*|\w+\s*=\s*[%!].*|[\w.]+\?{1,2}\s*)$", re.MULTILINE)
        return own.sub(r"\1pass", text)


def _statements(cell: int, text: str) -> list[Statement]:
    return [
        Statement(cell, node, *_names(node))
        for node in ast.parse(text).body
        if not isinstance(node, (ast.Expr, ast.Delete))
    ]


def _names(node: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the names a statement binds in its module, and those it reads from there."""
    if isinstance(node, ast.ImportFrom) and (
        node.names[0].name == "*" or node.module == "__future__"
    ):
        return {"*"}, set()
    top = symtable.symtable(ast.unparse(node), "cell", "exec")
    binds = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    binds |= _changed(node)
    uses = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = top.get_children()
    while tables:
        table = tables.pop()
        uses |= {s.get_name() for s in table.get_symbols() if s.is_global()}
        tables += table.get_children()
    return binds, uses


def _changed(node: ast.AST) -> set[str]:
    """Return the names whose items or attributes a statement sets, outside functions of its own."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return set()
    names = set().union(*(_changed(child) for child in ast.iter_child_nodes(node)))
    if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
        while isinstance(node, (ast.Subscript, ast.Attribute)):
            node = node.value
        names |= {node.id} if isinstance(node, ast.Name) else set()
    return names


def defined(source: Source) -> set[str]:
    """Return the names that a notebook's statements bind."""
    return set().union(*(statement.binds for statement in source.statements))


def needed(source: Source, name: str) -> list[Statement]:
    """Return the statements that `name` needs, in order."""
    names, size = {name, "*"}, 0
    while len(names) > size:
        size = len(names)
        for statement in source.statements:
            if statement.binds & names:
                names |= statement.uses
    return [statement for statement in source.statements if statement.binds & names]


def run(statements: list[Statement], namespace: dict[str, Any]) -> list[tuple[Statement, str]]:
    """Run statements in `namespace` and return those that failed, each with its error.

    One that fails runs again after the rest, while that helps.
    """
    waiting, flags = statements, _future_flags(statements)
    for _ in range(PASSES):
        failed = []
        for statement in waiting:
            try:
                module = ast.Module([statement.node], type_ignores=[])
                code = compile(module, f"cell {statement.cell}", "exec", flags, dont_inherit=True)
                exec(code, namespace)
            except BaseException as error:  # also exits, and whatever else a student's line raises
                failed.append((statement, describe(error)))
        if len(failed) in (0, len(waiting)):
            break
        waiting = [statement for statement, _ in failed]
    return failed if statements else []


def _future_flags(statements: list[Statement]) -> int:
    """Return the compiler's flags for what is imported from `__future__`, for all cells."""
    imports = [s.node for s in statements if isinstance(s.node, ast.ImportFrom)]
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
