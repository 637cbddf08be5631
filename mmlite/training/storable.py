"""What a checkpoint file can hold, and in which form.

A file is read without running code, so PyTorch's reader knows tensors, numbers, strings and
containers of them alone. `to_file` gives everything else a form that it knows and that comes back
equal, or refuses it by name *before* anything is written: a file that cannot be read is no file.
"""

import io
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ARRAY = "mmlite: a NumPy array"  # marks the dictionary that stands for one
BYTES = "bytes"  # in the place of an array's type
KINDS = "biufcSU"  # of arrays: numbers, bytes and strings
_WHOLE = (bool, int, float, complex, str, type(None))


def to_file(value: Any, name: str = "state") -> Any:
    """Return a state in the form that a file holds; `from_file` gives an equal one back.

    NumPy's numbers become Python's, named tuples tuples, other dictionaries plain ones.

    Args:
        value: tensors, numbers, strings, None, NumPy arrays, and dicts, lists, tuples and sets of
            them, also what else PyTorch reads back.
        name: where the value stands, for the message.

    Raises:
        ValueError: something in it would not come back; the message names its place.
    """
    try:
        return _to_file(value, name)
    except RecursionError:
        raise ValueError(f"{name} is nested without end, so a checkpoint cannot hold it") from None


def _to_file(value: Any, name: str) -> Any:
    if type(value) in _WHOLE:
        return value
    if isinstance(value, Enum):
        raise _refused(value, name)
    if isinstance(value, Tensor):
        kind = type(value)
        return value if kind in (Tensor, nn.Parameter) else value.as_subclass(Tensor)
    if isinstance(value, np.generic):
        return _number(value, name)
    if isinstance(value, (bytes, bytearray)):
        return {ARRAY: BYTES, "shape": (), "bytes": _bytes(value)}
    if isinstance(value, np.ndarray):
        return _array(value, name)
    if isinstance(value, Mapping):
        return _mapping(value, name)
    if isinstance(value, tuple) and not isinstance(value, torch.Size):
        return tuple(_to_file(one, f"{name}[{i}]") for i, one in enumerate(value))
    if isinstance(value, list):
        return [_to_file(one, f"{name}[{i}]") for i, one in enumerate(value)]
    if isinstance(value, str):
        return str(value)
    if not _comes_back(value):
        raise _refused(value, name)
    return value


def from_file(value: Any) -> Any:
    """Return the state that `to_file` made a file's of."""
    if isinstance(value, dict):
        if ARRAY in value:
            raw = value["bytes"].numpy().tobytes()
            if value[ARRAY] == BYTES:
                return raw
            return np.frombuffer(raw, np.dtype(value[ARRAY])).reshape(value["shape"]).copy()
        for key, one in value.items():
            value[key] = from_file(one)
    elif isinstance(value, list):
        value[:] = [from_file(one) for one in value]
    elif type(value) is tuple:
        return tuple(from_file(one) for one in value)
    return value


def plain(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with Python's own numbers and strings, the only ones it may hold.

    Raises:
        ValueError: a value is no number, string, boolean, None, nor a list or tuple of them.
    """

    def one(name: str, value: Any) -> Any:
        if value is None or isinstance(value, (bool, np.bool_)):
            return value if value is None else bool(value)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            return float(value)
        if isinstance(value, (list, tuple)):
            parts = [one(name, part) for part in value]
            return parts if isinstance(value, list) else tuple(parts)
        raise ValueError(
            f"{name} is {value!r}, and a run is described by numbers, strings, booleans and None; "
            "give it as one of them, for instance str(...)"
        )

    return {str(name): one(name, value) for name, value in description.items()}


def alike(a: Any, b: Any) -> bool:
    """Whether two plain values are equal; NaN is equal to NaN."""
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b or (a != a and b != b)


def _mapping(value: Mapping, name: str) -> dict:
    keys = [_to_file(key, f"a key of {name}") for key in value]
    parts = [_to_file(one, f"{name}[{key!r}]") for key, one in value.items()]
    made = dict(zip(keys, parts, strict=True))
    if ARRAY in made:
        raise ValueError(f"{name} has the key {ARRAY!r}, which marks arrays in a checkpoint")
    if type(value) is not OrderedDict:
        return made
    ordered = OrderedDict(made)
    if hasattr(value, "_metadata"):  # the versions of a module's state_dict
        vars(ordered)["_metadata"] = value._metadata
    return ordered


def _number(value: np.generic, name: str) -> Any:
    number = value.item()
    if type(number) not in (*_WHOLE, bytes):  # a date, or wider than Python's float
        raise _refused(value, name)
    return _to_file(number, name)


def _array(value: np.ndarray, name: str) -> dict[str, Any]:
    if value.dtype.kind not in KINDS or value.dtype.names:
        raise _refused(value, name)
    return {ARRAY: value.dtype.str, "shape": tuple(value.shape), "bytes": _bytes(value.tobytes())}


def _bytes(raw: bytes | bytearray) -> Tensor:
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.empty(0).byte()


def _comes_back(value: Any) -> bool:
    """Whether PyTorch's reader, which runs no code, gives back what its writer wrote."""
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    # each kind of object fails in its own way
    except Exception:
        return False
    return True


def _refused(value: Any, name: str) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
    return ValueError(
        f"{name} is {shown}, a {type(value).__name__}, and a checkpoint cannot hold that; hold it "
        "as a number, a string, a tensor or a NumPy array of numbers, in lists and dictionaries"
    )
