"""What a file of the library imports of the library, read and not run."""

import ast


def imported(source: str) -> set[str]:
    """Return the dotted names that a source imports of mmlite, at its head or later."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "mmlite"}
