"""Submodules that are imported when they are first used."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def submodules(package: str) -> Callable[[str], ModuleType]:
    """Return a package's `__getattr__` that imports its submodules by name.

        __getattr__ = submodules(__name__)

    Args:
        package: the package's full name.
    """

    def imported(name: str) -> ModuleType:
        place = f"{package}.{name}"
        if name.startswith("__") or find_spec(place) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(place)

    return imported
