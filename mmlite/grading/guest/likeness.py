"""What two answers have in common when one is copied: all but names, comments and layout.

This file runs in the sandbox, before anything of the student's does.
"""

import ast
import builtins
import hashlib
import sys
from collections.abc import Iterable

KEPT = set(dir(builtins))


def likeness(nodes: Iterable[ast.stmt], kept: set[str]) -> tuple[str, int]:
    """Return a digest of statements that renaming does not change, and how many nodes they have.

    Args:
        nodes: the answer and what it needs.
        kept: names that are the course's or a library's, and stay as they are.
    """
    renamer = _Renamer(kept | KEPT)
    # a copy made of the text, so that what is run stays as it is
    whole = ast.parse("\n".join(ast.unparse(node) for node in nodes))
    dumped = ast.dump(renamer.visit(whole))
    size = sum(1 for _ in ast.walk(whole))
    return hashlib.sha256(f"{sys.version_info[:2]}{dumped}".encode()).hexdigest()[:16], size


class _Renamer(ast.NodeTransformer):
    """Gives names by the order in which they come, and takes docstrings out."""

    def __init__(self, kept: set[str]):
        self.kept = kept
        self.names: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return name if name in self.kept else self.names.setdefault(name, f"n{len(self.names)}")

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._name(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg, node.annotation = self._name(node.arg), None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name, node.returns = self._name(node.name), None
        if len(node.body) > 1 and ast.get_docstring(node) is not None:
            del node.body[0]
        self.generic_visit(node)
        return node
