"""Tests that share what takes minutes to make run in one process."""

import os
import subprocess
import sys

GROUP = """
import os
import pytest

@pytest.mark.xdist_group("one process")
@pytest.mark.parametrize("number", range(6))
def test_in_a_group(number):
    with open("processes", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_a_group_of_tests_stays_in_one_process(tmp_path):
    # an xdist and a pytest that do not go together part it without a word
    (tmp_path / "test_group.py").write_text(GROUP)
    others = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup"]
    subprocess.run([*command, str(tmp_path)], cwd=tmp_path, env=others, check=True)
    assert len(set((tmp_path / "processes").read_text().split())) == 1
