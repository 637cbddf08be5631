"""`mmlite bench`: list the benchmarks of a clone, or run one."""

import argparse
import subprocess
import sys
from pathlib import Path


def add(commands) -> None:
    """Add the command to the parser's."""
    benches = commands.add_parser(
        "bench",
        help="list the benchmarks of a clone, or run one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="List the scripts in benchmarks/, or run one; what follows its name goes to "
        "it.",
        epilog="examples:\n  mmlite bench\n  mmlite bench shortcut --seeds 2",
    )
    benches.add_argument("name", nargs="?", help="for instance views; without it they are listed")
    benches.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    benches.set_defaults(command=bench)


def bench(options: argparse.Namespace) -> int:
    """List the benchmarks, or run one and return its exit code."""
    from mmlite.course.notebooks import find_course

    folder = find_course() / "benchmarks"
    scripts = {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "common"}
    if options.name is None and not scripts:
        print(f"mmlite: there are no benchmarks in {folder}; a clone has them", file=sys.stderr)
        return 2
    if options.name is None:
        for name, path in scripts.items():
            print(f"{name:15} {_first_line(path)}")
        return 0
    if options.name not in scripts:
        known = ", ".join(scripts) or "none here"
        print(
            f"mmlite: there is no benchmark {options.name!r}; there are: {known}", file=sys.stderr
        )
        return 2
    command = [sys.executable, str(scripts[options.name]), *options.arguments]
    return 1 if subprocess.run(command).returncode else 0


def _first_line(path: Path) -> str:
    """Return the first line of a script's docstring."""
    import ast

    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
