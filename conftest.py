"""How stored notebooks are compared (`pytest --nbval`): rules that nbval has no option for."""

import functools

PROGRESS = "/s]"  # how a progress bar's text ends; it tells times, so it is not compared


def is_progress(output) -> bool:
    """Whether a cell's output is a progress bar."""
    return str(output.get("data", {}).get("text/plain", "")).endswith(PROGRESS)


def pytest_collection_modifyitems(items):
    """Leave stderr and progress bars out of the comparison of notebooks."""
    for item in items:
        if not hasattr(item, "compare_outputs"):
            continue
        if "stderr" not in item.parent.skip_compare:
            item.parent.skip_compare += ("stderr",)
        item.compare_outputs = functools.partial(_compare, item.compare_outputs)


def _compare(compare, test, ref, skip_compare=None):
    test, ref = ([o for o in outputs if not is_progress(o)] for outputs in (test, ref))
    return compare(test, ref, skip_compare)
