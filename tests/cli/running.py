"""A small course, and commands run in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from without import script_without

ROOT = Path(__file__).resolve().parents[2]


def course(folder: Path, *sources: str) -> Path:
    for name in ("lessons", "solutions"):
        (folder / name).mkdir()
        cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
        nbformat.write(new_notebook(cells=cells), folder / name / "01_small.ipynb")
    return folder


CLAIM = "from mmlite import claim\nclaim('one is small', 1, at_most={})"


def read_first(command, count, **more):
    """Start a command, read so many bytes of its output, hang up; return its code and words."""
    with subprocess.Popen(
        [sys.executable, "-m", "mmlite", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    ) as running:
        running.stdout.read(count)
        running.stdout.close()
        said = running.stderr.read().decode()
        return running.wait(), said


MAIN = """
import sys
from mmlite.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_without(missing, *command, cwd=ROOT):
    """Run a command where some packages are not installed."""
    environment = os.environ | {"MMLITE_DEVICE": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", script_without(missing, MAIN), *command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )


def options_of_two(out: Path, *more: str) -> list[str]:
    given = ["--recipe", "fashion-laptop", "--method", "metamask", "--out", str(out), "--quiet"]
    small = {"--images": 96, "--batch-size": 31, "--dim": 8, "--hidden": 8, "--projection": 4}
    numbers = [str(word) for pair in small.items() for word in pair]
    return ["-m", "mmlite", "train", *given, *numbers, *more]
