"""At the end of a run: the promises that it did not check, for their tests were skipped.

A skip is told unless its reason is expected, so that no new one is forgotten. A reason says what is
missing and, after a semicolon, what to do.
"""

from collections import defaultdict

import pytest

EXPECTED = (  # nothing is promised there
    "no CUDA device",
    "another C library: there is nothing to keep",
    "not a git checkout",
)


def pytest_terminal_summary(terminalreporter):
    """Write a line for each reason that hides a promise: how many tests, where and why."""
    hidden = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", ()):
        reason = " ".join(report.longrepr[2].removeprefix("Skipped: ").split())
        if reason not in EXPECTED:
            hidden[reason].append(report)
    if hidden:
        terminalreporter.section("promises that this run did not check", yellow=True)
    for reason, reports in sorted(hidden.items(), key=lambda item: -len(item[1])):
        files = sorted({report.nodeid.split("::")[0] for report in reports})
        terminalreporter.write_line(f"{_count(reports)} of {', '.join(files)}: {reason}")


def _count(reports: list) -> str:
    if any(isinstance(report, pytest.CollectReport) for report in reports):
        return "all"  # a file that is skipped before its tests are counted
    return f"{len(reports)} {'test' if len(reports) == 1 else 'tests'}"
