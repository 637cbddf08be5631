"""Hypothesis draws the same cases in every run: a test passes or fails, whatever the luck.

HYPOTHESIS_PROFILE=explore draws fresh ones.
"""

import os

from hypothesis import settings
from skips import pytest_terminal_summary  # noqa: F401

settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
