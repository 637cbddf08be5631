"""The types of arguments that several commands take."""

import argparse
import importlib.util
from datetime import datetime
from pathlib import Path


def path(text: str) -> Path:
    """Return a path; of `--out=~/x` no shell replaces the ~."""
    from mmlite.support import checks

    try:
        return checks.path("it", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def local_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if len(text) <= len("2026-11-30"):  # a day, which is not over as it begins
            time = time.replace(hour=23, minute=59, second=59)
        return time.astimezone().replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time; write it as 2026-11-30T18:00, or a day as 2026-11-30"
        ) from None


def need(*names: str) -> None:
    """Raise a ModuleNotFoundError for the first of these packages that is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
