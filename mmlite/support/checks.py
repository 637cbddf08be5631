"""Checks of arguments: each returns Python's own value, or says in one form what is wrong.

    k must be a whole number from 1 to 100, got 2.5

A number is one of Python's or of NumPy's. A bool is not a number, nor is a tensor or an array
with a single entry: `.item()` makes a number of it, and shows where a graph ends or the program
waits for a GPU.

Nothing here imports PyTorch until a tensor is asked for, so that the command line answers at once.
"""

import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlite.support.errors import first_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

LARGEST_SEED = 2**63 - 1
LONGEST = 80  # characters of a wrong value that a message shows


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number within its bounds as an int; 2.0 is refused, and so is True.

    Args:
        name: the argument's, for the message.
        value: what was given.
        least: a bound that may be reached.
        most: likewise.

    Raises:
        ValueError: it is another thing, or out of its bounds.
    """
    number = value if type(value) is int else _as_int(value)
    if (
        number is None
        or (least is not None and number < least)
        or (most is not None and number > most)
    ):
        raise wrong(name, f"a whole number{_range(least, None, most, None)}", value)
    return number


def real(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    finite: bool = True,
) -> float:
    """Return a number within its bounds as a float; NaN never passes.

    Args:
        name: the argument's, for the message.
        value: what was given.
        least: a bound that may be reached.
        most: likewise.
        above: a bound that may not be reached.
        below: likewise.
        finite: refuse infinities.

    Raises:
        ValueError: it is another thing, or out of its bounds.
    """
    number = value if type(value) is float else _as_float(value)
    if (
        number is None
        or math.isnan(number)
        or (finite and math.isinf(number))
        or (least is not None and number < least)
        or (above is not None and number <= above)
        or (most is not None and number > most)
        or (below is not None and number >= below)
    ):
        closed = (least is not None or above is not None) and (
            most is not None or below is not None
        )
        kind = "a finite number" if finite and not closed else "a number"
        raise wrong(name, kind + _range(least, above, most, below), value)
    return number


def seed(value: Any, name: str = "seed") -> int:
    """Return a seed, a whole number from 0 to 2⁶³ − 1, as an int.

    Raises:
        ValueError: it is another thing.
    """
    number = _as_int(value)
    if number is None or not 0 <= number <= LARGEST_SEED:
        raise wrong(name, "a whole number from 0 to 2⁶³ − 1", value)
    return number


def flag(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        ValueError: it is another thing, for instance "no", which Python counts as true.
    """
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):  # NumPy's
        raise wrong(name, "True or False", value)
    return bool(value)


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return one of the known names.

    Raises:
        ValueError: it is none of them.
    """
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise wrong(name, f"one of {', '.join(known)}", value)
    return str(value)


def text(name: str, value: Any) -> str:
    """Return a string.

    Raises:
        ValueError: it is another thing.
    """
    if not isinstance(value, str):
        raise wrong(name, "a string", value)
    return str(value)


def path(name: str, value: Any) -> Path:
    """Return a path, its ~ replaced by the user's folder as a shell does.

    Raises:
        ValueError: it is no path, an empty one, or the folder of a user that is not known.
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise wrong(name, "a path: a string or a pathlib.Path", value)
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise wrong(name, "the path of a file or folder", value)
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name} is {str(value)!r}, and {error}; write the path out") from error


def tensor(name: str, value: Any, wanted: str = "a tensor") -> "Tensor":
    """Return a tensor; `wanted` says what kind, for the message alone.

    Raises:
        ValueError: it is a list, an array or another thing.
    """
    from torch import Tensor

    if not isinstance(value, Tensor):
        convertible = isinstance(value, (list, tuple)) or type(value).__name__ == "ndarray"
        fix = "; torch.as_tensor makes one of it" if convertible else ""
        raise ValueError(f"{wrong(name, wanted, value)}{fix}")
    return value


def channels_first(name: str, images: "Tensor") -> None:
    """Raise a ValueError for square images of 1, 3 or 4 channels that stand last, [N, H, W, C]."""
    _, first, second, last = images.shape
    if first == second >= 8 and last in (1, 3, 4):
        raise ValueError(
            f"{name} of shape {list(images.shape)} have their channels last, and [N, C, H, W] is "
            "wanted: permute(0, 3, 1, 2) of them all, or permute(2, 0, 1) of each, moves them"
        )


def is_float(value: Any) -> bool:
    """Whether a value is a tensor that arithmetic takes: dense, of 16, 32 or 64-bit floats."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
        and value.layout == torch.strided
        and not value.is_nested
    )


def device(name: str, value: Any) -> "torch.device":
    """Return a device of this machine, from its name.

    Raises:
        ValueError: it is none.
    """
    import torch

    if not isinstance(value, (str, torch.device)):
        raise wrong(name, "a device, for instance cpu or cuda", value)
    try:
        chosen = torch.device(value)
        torch.empty(1, device=chosen)
    # torch reports an unknown name, an absent driver and an index too high in three ways
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error)
        raise ValueError(
            f"{name} must be a device of this machine, got {str(value)!r} ({reason})"
        ) from error
    return chosen


def module(name: str, value: Any) -> "nn.Module":
    """Return a torch.nn.Module.

    Raises:
        ValueError: it is another thing.
    """
    from torch import nn

    return instance(name, value, nn.Module, "a torch.nn.Module")


def function(name: str, value: Any, wanted: str = "a function") -> Any:
    """Return what can be called; `wanted` says what for, for the message alone.

    Raises:
        ValueError: it cannot.
    """
    if not callable(value):
        raise wrong(name, wanted, value)
    return value


def instance(name: str, value: Any, kind: type | tuple[type, ...], wanted: str) -> Any:
    """Return a value of the given kind; `wanted` names the kind and how to come by one.

    Raises:
        ValueError: it is another thing.
    """
    if not isinstance(value, kind):
        raise wrong(name, wanted, value)
    return value


def wrong(name: str, wanted: str, value: Any) -> ValueError:
    """Return the error that says what an argument must be, and what it is."""
    return ValueError(f"{name} must be {wanted}, got {shown(value)}")


def shown(value: Any) -> str:
    """Return a wrong value for a message: short, and of a tensor its type and shape alone."""
    kind = type(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        of_numpy = kind.__module__ == "numpy"
        if not of_numpy or kind.__name__ == "ndarray":
            dtype = str(value.dtype).removeprefix("torch.")
            return f"{'an array' if of_numpy else 'a tensor'} {dtype} of shape {list(value.shape)}"
        value = value.item()
    if isinstance(value, (bool, int, float, complex, str, bytes, Path)) or value is None:
        written = repr(value)
        return written if len(written) <= LONGEST else f"{written[:LONGEST]}…"
    if isinstance(value, (list, tuple, dict, set)):
        return f"a {type(value).__name__} of {len(value)}"
    name = kind.__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _as_int(value: Any) -> int | None:
    """Return a whole number as an int, or None if it is another thing."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def _as_float(value: Any) -> float | None:
    """Return a number as a float, or None if it is another thing."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats; typeshed gives Real no order
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def _range(
    least: float | None, above: float | None, most: float | None, below: float | None
) -> str:
    """Return bounds in words, with a space in front, or nothing if there are none."""
    if least is not None and most is not None:
        return f" from {_number(least)} to {_number(most)}"
    words = []
    if least is not None:
        words.append(f"of at least {_number(least)}")
    if above is not None:
        words.append(f"greater than {_number(above)}")
    if most is not None:
        words.append(f"at most {_number(most)}" if words else f"of at most {_number(most)}")
    if below is not None:
        words.append(f"less than {_number(below)}")
    return f" {' and '.join(words)}" if words else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def described(value: Any) -> str:
    """Return what a message says of a tensor that is not the one wanted."""
    import torch
    from torch import Tensor

    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.layout != torch.strided or value.is_complex():
        return shown(value)
    negative = ", some negative" if value.dim() and bool((value < 0).any()) else ""
    return f"{value.dtype} of shape {list(value.shape)}{negative} on {value.device}"
