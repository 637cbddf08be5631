"""What travels between the grader and a student's process: plain values in frames, never pickle.

A frame is a head (a magic word and two lengths), JSON that describes the value, and the raw bytes
of its tensors. Both ends read frames strictly: whatever is not exactly a plain value of bounded
size is refused. Torch is the only import beside the standard library, for this file also runs in
the sandbox.
"""

import json
import math
import os
import re
import select
import struct
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

MAGIC = b"mml1"
HEAD = struct.Struct("<4sIQ")  # magic, bytes of JSON, bytes of tensors
MAX_JSON = 1 << 20  # bytes: a value of the exercises takes a few hundred
MAX_BYTES = 64 << 20  # bytes of tensors in a reply
MAX_DEPTH = 16
MAX_VALUES = 20_000  # values in a message; the grader's time for one is bounded by it
Deadline = float | Callable[[], float]  # a time of `time.monotonic`, or what tells the seconds left
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
        torch.complex64, torch.complex128,
    )
}  # fmt: skip


class WireError(Exception):
    """A message did not come, or is not one; the sentence says how."""


class ClosedError(WireError):
    """The other end is gone."""


class LateError(WireError):
    """The time for a message ran out."""


class Strange:
    """Stands for a value that does not travel; its type's name is that of the value's type."""


def pack(value: Any) -> bytes:
    """Return a value as a frame.

    Args:
        value: None, bool, int, float, str, bytes, a dense tensor or a `Generator` of the CPU, or a
            tuple, list or dict (with str keys) of these. A value of any other type goes as the name
            of its type, and arrives as a `Strange`.
    """
    parts: list[bytes] = []
    tree = json.dumps(_describe(value, parts, 0)).encode()
    payload = b"".join(parts)
    return HEAD.pack(MAGIC, len(tree), len(payload)) + tree + payload


def unpack(tree: bytes, payload: bytes) -> Any:
    """Return the value of a frame's two parts.

    Raises:
        WireError: they are not exactly what `pack` writes.
    """
    try:
        reader = _Reader(memoryview(bytearray(payload)))
        value = reader.read(json.loads(tree), 0)
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError, RecursionError) as error:
        raise WireError(f"the message is malformed ({type(error).__name__})") from error
    if reader.at != len(payload):
        raise WireError("the message is malformed (bytes that belong to no tensor)")
    return value


def _describe(value: Any, parts: list[bytes], depth: int) -> Any:
    if depth > MAX_DEPTH:
        return ["strange", "value nested too deeply"]
    if _is_numpys_number(value):
        value = float(value) if value.dtype.kind == "f" else int(value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else ["strange", "whole number too large"]
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (bytes, bytearray)):
        parts.append(bytes(value))
        return ["bytes", len(value)]
    if isinstance(value, Tensor):
        return _describe_tensor(value, parts)
    if isinstance(value, Generator) and value.device.type == "cpu":
        return ["generator", _describe_tensor(value.get_state(), parts)]
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return [kind, [_describe(item, parts, depth + 1) for item in value]]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return ["dict", [[k, _describe(v, parts, depth + 1)] for k, v in value.items()]]
    return ["strange", re.sub(r"\W", "", type(value).__name__)[:60] or "value"]


def _is_numpys_number(value: Any) -> bool:
    """Whether a value is a NumPy scalar, or an array of no dimensions, of whole or real numbers."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return type(value).__module__ == "numpy" and kind in ("i", "u", "f") and value.ndim == 0


def _describe_tensor(value: Tensor, parts: list[bytes]) -> Any:
    name = str(value.dtype).removeprefix("torch.")
    if value.device.type == "meta":
        return ["strange", "tensor without numbers on the meta device"]
    if value.layout != torch.strided or value.is_quantized or name not in DTYPES:
        return ["strange", "tensor that is sparse or of an unusual type"]
    if value.numel() * value.element_size() > MAX_BYTES:
        return ["strange", f"tensor of more than {MAX_BYTES >> 20} MB"]
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    parts.append(plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return ["tensor", name, list(value.shape)]


class _Reader:
    """Reads a description; tensors take their bytes in the order in which they are described."""

    def __init__(self, payload: memoryview):
        self.payload, self.at, self.values = payload, 0, 0
        self.kinds: dict[str, type[Strange]] = {}

    def read(self, tree: Any, depth: int) -> Any:
        self.values += 1
        if depth > MAX_DEPTH + 1:
            raise ValueError("nested too deeply")
        if self.values > MAX_VALUES:
            raise ValueError("too many values")
        if tree is None or isinstance(tree, (bool, str, int, float)):
            return self._scalar(tree)
        kind, *rest = tree
        return getattr(self, f"_{self._known(kind)}")(depth + 1, *rest)

    @staticmethod
    def _known(kind: Any) -> str:
        if kind not in ("bytes", "tensor", "generator", "tuple", "list", "dict", "strange"):
            raise ValueError("unknown kind")
        return kind

    @staticmethod
    def _scalar(value: Any) -> Any:
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("whole number too large")
        return value

    def _take(self, count: int) -> memoryview:
        if type(count) is not int or not 0 <= count <= len(self.payload) - self.at:
            raise ValueError("not so many bytes")
        self.at += count
        return self.payload[self.at - count : self.at]

    def _bytes(self, depth: int, count: int) -> bytes:
        return bytes(self._take(count))

    def _tensor(self, depth: int, name: str, shape: list[int]) -> Tensor:
        dtype = DTYPES[name]
        if len(shape) > 16 or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise ValueError("not a shape")
        raw = self._take(math.prod(shape) * dtype.itemsize)
        if not len(raw):
            return torch.empty(shape, dtype=dtype)
        if dtype == torch.bool:  # a bool tensor of other bytes than 0 and 1 lies about itself
            return (torch.frombuffer(raw, dtype=torch.uint8) != 0).reshape(shape)
        # a copy, so that alignment and lifetime are torch's own
        return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)

    def _generator(self, depth: int, tree: list) -> Generator:
        generator = Generator()
        generator.set_state(self.read(tree, depth))
        return generator

    def _tuple(self, depth: int, items: list) -> tuple:
        return tuple(self._list(depth, items))

    def _list(self, depth: int, items: list) -> list:
        return [self.read(item, depth) for item in items]

    def _dict(self, depth: int, pairs: list) -> dict:
        return {str(key): self.read(item, depth) for key, item in pairs}

    def _strange(self, depth: int, name: str) -> Strange:
        if not re.fullmatch(r"[\w .]{1,60}", name):
            raise ValueError("not a name")
        if len(self.kinds) >= 64:  # a type is dear, and its name only to be read
            name = "value"
        if name not in self.kinds:
            self.kinds[name] = type(name, (Strange,), {})
        return self.kinds[name]()


class Channel:
    """One end of a two-way stream of frames over file descriptors, which it owns."""

    def __init__(self, read_fd: int, write_fd: int):
        self.read_fd, self.write_fd = read_fd, write_fd

    def send(self, value: Any, deadline: Deadline = math.inf) -> None:
        """Send a value before `deadline`.

        Raises:
            WireError: the other end is gone or does not read.
        """
        left = memoryview(pack(value))
        os.set_blocking(self.write_fd, False)
        while left:
            self._wait(self.write_fd, select.POLLOUT, deadline)
            try:
                left = left[os.write(self.write_fd, left[: 1 << 20]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise ClosedError("the process ended") from error

    def receive(self, deadline: Deadline = math.inf, max_bytes: int = MAX_BYTES) -> Any:
        """Return the next value, of at most `max_bytes` bytes of tensors, before `deadline`.

        However slowly the bytes come, the deadline is that of the whole message.

        Raises:
            WireError: there is no such message in time.
        """
        magic, tree, payload = HEAD.unpack(self._read(HEAD.size, deadline))
        if magic != MAGIC:
            raise WireError("the message is malformed (it does not begin like one)")
        if tree > MAX_JSON:
            raise WireError(
                f"the message is too large: {tree:,} bytes beside tensors, where {MAX_JSON:,} may "
                "come; many numbers go into a tensor"
            )
        if payload > max_bytes:
            raise WireError(
                f"the message is too large: {payload:,} bytes, where {max_bytes:,} may come"
            )
        return unpack(self._read(tree, deadline), self._read(payload, deadline))

    def _read(self, count: int, deadline: Deadline) -> bytes:
        got = bytearray()
        while len(got) < count:
            self._wait(self.read_fd, select.POLLIN, deadline)
            try:
                chunk = os.read(self.read_fd, min(count - len(got), 1 << 20))
            except OSError as error:
                raise ClosedError("the process ended") from error
            if not chunk:
                raise ClosedError("the process ended")
            got += chunk
        return bytes(got)

    @staticmethod
    def _wait(fd: int, event: int, deadline: Deadline) -> None:
        poll = select.poll()
        poll.register(fd, event)
        while True:
            left = deadline() if callable(deadline) else deadline - time.monotonic()
            if left <= 0:
                raise LateError("there was no answer in time")
            if poll.poll(min(left, 1.0) * 1000):
                return

    def close(self) -> None:
        """Close both directions."""
        for fd in {self.read_fd, self.write_fd}:
            os.close(fd)
