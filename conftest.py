"""What pytest has no option for: tests side by side, notebooks compared, GPU tests skipped."""

import functools
import os

import pytest

PROGRESS = "/s]"  # how a progress bar's text ends; it tells times, so it is not compared
MOST_WORKERS = 4  # each holds PyTorch, and some a class or a training


def pytest_xdist_auto_num_workers(config) -> int:
    """All tests run side by side, a few by themselves: a worker takes seconds to start."""
    if config.args != config.getini("testpaths"):
        return 0
    return min(os.cpu_count() or 1, MOST_WORKERS)


def pytest_configure(config) -> None:
    """Let workers share the cores, and not each take all of them."""
    if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def is_progress(output) -> bool:
    """Whether a cell's output is a progress bar."""
    return str(output.get("data", {}).get("text/plain", "")).endswith(PROGRESS)


def pytest_collection_modifyitems(items):
    """Leave out of the comparison what may differ; skip GPU tests where there is no GPU.

    Stderr, progress bars and the numbers behind a sign ≈ may differ.
    """
    # what takes longest first, so that no worker is left with it at the end
    items.sort(key=lambda item: item.get_closest_marker("lesson") is None)
    for item in items:
        if hasattr(item, "compare_outputs"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))  # its cells in order
            item.parent.skip_compare += ("stderr",)
            item.sanitize = functools.partial(_sanitize, item.sanitize)
            item.compare_outputs = functools.partial(_compare, item.compare_outputs)
        elif item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _compare(compare, test, ref, skip_compare=None):
    test, ref = ([o for o in outputs if not is_progress(o)] for outputs in (test, ref))
    return compare(test, ref, skip_compare)


def _sanitize(sanitize, output):
    from mmlite.course.claims import masked  # here, for most runs of pytest compare no notebook

    output = sanitize(output)
    return masked(output) if isinstance(output, str) else output


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
