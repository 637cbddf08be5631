"""Sandboxes for the tests of a file."""

import os

import pytest

from mmlite.course.notebooks import LessonError
from mmlite.grading.host.sandbox import ISOLATIONS, Sandbox


@pytest.fixture(scope="module")
def box():
    with Sandbox() as box:
        yield box


@pytest.fixture(scope="module")
def limits_only():
    """Let a sandbox of limits start where root's Python is out of other users' sight.

    It is refused there, for a worker would be such a user; the worker stays root's, without rights.
    """
    with pytest.MonkeyPatch.context() as patch:
        fault = _refusal("limits")
        if os.geteuid() == 0 and "Python has to lie where every user may read it" in fault:
            patch.setattr(Sandbox, "_is_root", staticmethod(lambda: False))
        yield


@pytest.fixture(scope="module", params=ISOLATIONS)
def any_box(request, limits_only):
    """Start a sandbox of each kind that this system offers."""
    if fault := _refusal(request.param):
        pytest.skip(f"no sandbox of {request.param} starts here: {fault}")
    with Sandbox(isolation=request.param) as box:
        yield box


def _refusal(isolation: str) -> str:
    try:
        Sandbox(isolation=isolation).close()
    except LessonError as error:
        return str(error)
    return ""
