"""What pytest has no option for: how stored notebooks are compared, and where GPU tests run."""

import functools

import pytest

PROGRESS = "/s]"  # how a progress bar's text ends; it tells times, so it is not compared


def is_progress(output) -> bool:
    """Whether a cell's output is a progress bar."""
    return str(output.get("data", {}).get("text/plain", "")).endswith(PROGRESS)


def pytest_collection_modifyitems(items):
    """Leave out of the comparison what may differ; skip GPU tests where there is no GPU.

    That is stderr, progress bars and the numbers behind a sign ≈.
    """
    for item in items:
        if hasattr(item, "compare_outputs"):
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
