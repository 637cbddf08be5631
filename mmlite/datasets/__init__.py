"""The shipped images, how they were made, and formats that torchvision does not read."""


class DataError(RuntimeError):
    """A data file is missing or damaged; the message names it and says how to mend it."""
