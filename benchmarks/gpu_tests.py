"""The tests that need a GPU, run on one, and what came of each, kept with machine and day.

    uv run python benchmarks/gpu_tests.py

Writes benchmarks/results/gpu_tests.json. Exit code: pytest's, or 2 where there is no GPU.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch
from common import save


def outcomes(report: Path) -> dict[str, str]:
    """Return "passed", "failed" or "skipped" for each test of a JUnit report."""
    kinds = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kind = [kinds[child.tag] for child in case if child.tag in kinds]
        found[f"{case.get('classname')}::{case.get('name')}"] = kind[0] if kind else "passed"
    return found


def main() -> int:
    if not torch.cuda.is_available():
        print("there is no GPU that torch can use; nothing was run or written", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junit-xml={report}"]
        code = subprocess.run(command, cwd=Path(__file__).parents[1]).returncode
        save("gpu_tests", "uv run python benchmarks/gpu_tests.py", outcomes(report))
    return code


if __name__ == "__main__":
    sys.exit(main())
