"""What every other part leans on: checks of arguments, random states, what an object holds."""

from mmlite.support.lazy import submodules

__getattr__ = submodules(__name__)
