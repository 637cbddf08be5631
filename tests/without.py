"""A script that runs where some packages are not installed."""

MISSING = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def script_without(missing, script: str) -> str:
    """Return a script that cannot import these packages."""
    return MISSING.format(missing=sorted(missing)) + script
