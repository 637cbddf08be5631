"""A sandbox for the tests of a file."""

import pytest

from mmlite.grading.sandbox import Sandbox


@pytest.fixture(scope="module")
def box():
    with Sandbox() as box:
        yield box
