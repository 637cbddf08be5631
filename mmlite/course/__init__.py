"""The course's notebooks: built from masters, executed, handed out; their claims and figures."""

from mmlite.support.lazy import submodules

__getattr__ = submodules(__name__)
