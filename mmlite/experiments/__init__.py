"""Whole runs by name, from data to table, and what they cost."""

from mmlite.support.lazy import submodules

__getattr__ = submodules(__name__)
