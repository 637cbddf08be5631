"""Which tests are slow, and the same drawn cases in every run.

Hypothesis draws the same: a test passes or fails, whatever the luck. HYPOTHESIS_PROFILE=explore
draws fresh ones.
"""

import os

import pytest
from hypothesis import settings
from skips import pytest_terminal_summary  # noqa: F401

os.environ["MMLITE_PROGRESS"] = "off"  # what tests pass is no student's progress

settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Files whose tests start processes, train, or go through very many cases. They take nine tenths of
# the time, and `-m "not lesson and not slow"` leaves them out.
SLOW = {
    *("test_arguments.py", "test_devices.py", "test_package.py", "test_project.py"),
    *("test_skips.py", "test_lazy.py", "test_examples.py"),
    *("test_batch_norm.py", "test_collectives.py"),
    *("test_lookahead.py", "test_lookahead_passes.py", "test_meta_gradient.py", "test_passes.py"),
    *("test_tangents.py", "test_trainer.py", "test_update.py"),
    *("test_compile.py", "test_processes.py", "test_resume.py"),
    *("test_fit.py", "test_kinds.py", "test_checkpoints.py", "test_memory.py"),
    *("test_runs.py", "test_costs.py", "test_arms.py", "test_run.py"),
    *("test_build.py", "test_lessons.py", "test_notebooks.py", "test_release.py", "test_site.py"),
    *("test_judge.py", "test_mutants.py", "test_random_views.py"),
    *("test_batch.py", "test_container.py", "test_isolation.py", "test_marking.py"),
    *("test_nbgrader.py", "test_notebook.py", "test_remote.py", "test_selfcheck.py"),
    *("test_styles.py", "test_side_by_side.py"),
    *("test_cli_command_line.py", "test_cli_grade.py", "test_cli_lab.py", "test_cli_lessons.py"),
    *("test_cli_pipes.py", "test_cli_study.py", "test_cli_train.py"),
}


def pytest_collection_modifyitems(items):
    """Mark what is slow."""
    for item in items:
        if item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)
