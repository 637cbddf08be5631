"""What pytest has no option for: how stored notebooks are compared, and where GPU tests run."""

import functools

import pytest

PROGRESS = "/s]"  # how a progress bar's text ends; it tells times, so it is not compared


def is_progress(output) -> bool:
    """Whether a cell's output is a progress bar."""
    return str(output.get("data", {}).get("text/plain", "")).endswith(PROGRESS)


def pytest_collection_modifyitems(items):
    """Leave stderr and progress bars out of the comparison; skip GPU tests where there is none."""
    for item in items:
        if hasattr(item, "compare_outputs"):
            item.parent.skip_compare += ("stderr",)
            item.compare_outputs = functools.partial(_compare, item.compare_outputs)
        elif item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _compare(compare, test, ref, skip_compare=None):
    test, ref = ([o for o in outputs if not is_progress(o)] for outputs in (test, ref))
    return compare(test, ref, skip_compare)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
