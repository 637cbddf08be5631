"""The shipped images, how they were made, and formats that torchvision does not read."""

from mmlite.support.lazy import submodules


class DataError(RuntimeError):
    """A data file is missing or damaged; the message names it and says how to mend it."""


__getattr__ = submodules(__name__)
