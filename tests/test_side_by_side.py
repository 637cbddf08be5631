"""Tests that share what takes minutes to make run in one process."""

from pathlib import Path

pytest_plugins = ["pytester"]

GROUP = """
import os
import pytest

@pytest.mark.xdist_group("one process")
@pytest.mark.parametrize("number", range(6))
def test_in_a_group(number):
    with open("processes", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_a_group_of_tests_stays_in_one_process(pytester):
    # an xdist and a pytest that do not go together part it without a word
    pytester.makepyfile(test_group=GROUP)
    pytester.runpytest_subprocess("-n", "2", "--dist", "loadgroup").assert_outcomes(passed=6)
    assert len(set(Path("processes").read_text().split())) == 1
