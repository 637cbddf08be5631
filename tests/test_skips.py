"""A skip that hides a promise is told at the end of the run; one that is expected is not."""

import re
from pathlib import Path

import pytest
import skips

pytest_plugins = ["pytester"]
HEADING = "promises that this run did not check"


@pytest.fixture
def told(pytester):
    """Return a function that runs test files, and returns the lines told at the end."""

    def run(**files: str) -> list[str]:
        pytester.makeconftest("from skips import pytest_terminal_summary  # noqa: F401")
        pytester.makepyfile(**{f"test_{name}": text for name, text in files.items()})
        lines = pytester.runpytest_inprocess("-q", "-p", "no:nbval").outlines
        if not any(HEADING in line for line in lines):
            return []
        start = next(i for i, line in enumerate(lines) if HEADING in line)
        return [line for line in lines[start + 1 :] if re.search(r" of test_\w+\.py", line)]

    return run


def test_each_reason_is_one_line_with_its_tests_counted(told):
    assert told(
        many="""
            import pytest

            @pytest.fixture(scope="module")
            def sandbox():
                pytest.skip("no sandbox; allow namespaces")

            @pytest.mark.parametrize("i", range(100))
            def test_it(sandbox, i): ...
            """,
        marked="""
            import pytest

            @pytest.mark.skipif(True, reason="no compiler; install one")
            def test_it(): ...

            def test_other():
                pytest.skip("no sandbox; allow\\n    namespaces")

            def test_that_runs(): ...
            """,
        whole="import pytest\npytest.importorskip('no_such_package', reason='no package')",
    ) == [
        "101 tests of test_many.py, test_marked.py: no sandbox; allow namespaces",
        "all of test_whole.py: no package",
        "1 test of test_marked.py: no compiler; install one",
    ]


@pytest.mark.parametrize("reason", skips.EXPECTED)
def test_an_expected_skip_is_not_told(told, reason):
    assert (
        told(gpu=f"import pytest\n@pytest.mark.skip(reason={reason!r})\ndef test_it(): ...") == []
    )


def test_a_run_without_skips_and_failing_ones_tell_nothing(told):
    assert told(fine="def test_it(): ...\ndef test_wrong(): assert False") == []


def test_what_is_expected_is_a_reason_that_some_test_gives():
    folder = Path(__file__).parent
    files = [folder.parent / "conftest.py", *set(folder.rglob("*.py")) - {folder / "skips.py"}]
    sources = "".join(path.read_text(encoding="utf-8") for path in files)
    for reason in skips.EXPECTED:
        assert f'"{reason}"' in sources
