"""What travels between the grader and a student's process."""

import socket
import struct
import threading
import time

import pytest
import torch

from mmlite.grading import wire


def through_the_wire(value):
    frame = wire.pack(value)
    _, tree, _ = wire.HEAD.unpack(frame[: wire.HEAD.size])
    body = frame[wire.HEAD.size :]
    return wire.unpack(body[:tree], body[tree:])


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()
    if isinstance(a, (tuple, list)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and (a == b or a != a)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 7, -(2**63), 0.1, float("inf"), "é\n\0", b"\x00\xff", (), [1, (2.5, [None])],
        {"a": (1, 2), "b": torch.arange(3)}, torch.tensor(3.5), torch.zeros(0, 4),
        torch.tensor([True, False]), torch.tensor([1 + 2j]), torch.randn(3, 4).T,
        torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([2**62]),
        torch.randn(2, requires_grad=True).detach(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_arrives_as_it_was_sent(value):
    assert same(value, through_the_wire(value))


def test_a_generator_arrives_in_its_state():
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    arrived = through_the_wire(generator)
    assert torch.equal(torch.rand(4, generator=arrived), torch.rand(4, generator=generator))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (print, "builtin_function_or_method"),
        (2**63, "whole number too large"),
        (torch.eye(3).to_sparse(), "tensor that is sparse or of an unusual type"),
        (torch.empty(2, device="meta"), "tensor without numbers on the meta device"),
        (torch.empty(2**25), "tensor of more than 64 MB"),
        ({1: 2}, "dict"),
    ],
)
def test_what_does_not_travel_arrives_as_its_name(value, name):
    arrived = through_the_wire(value)
    assert isinstance(arrived, wire.Strange)
    assert type(arrived).__name__ == name


@pytest.mark.parametrize(
    ("tree", "payload"),
    [
        (b"{", b""),
        (b"[" * 100_000, b""),
        (b'["pickle", "cos"]', b""),
        (b'["__init__", []]', b""),
        (b'["tensor", "float32", [2]]', b"\0" * 7),
        (b'["tensor", "float32", [-1]]', b"\0" * 4),
        (b'["tensor", "float32", [true]]', b"\0" * 4),
        (b'["tensor", "float32", [4294967296, 4294967296]]', b"\0" * 8),
        (b'["tensor", "object", [1]]', b"\0" * 8),
        (b'["tensor", "float32", [1]]', b"\0" * 8),
        (b'["generator", ["tensor", "uint8", [3]]]', b"\0" * 3),
        (b'["generator", 5]', b""),
        (b'["strange", "<b>"]', b""),
        (b'["bytes", -1]', b""),
        (b"1" * 5000, b""),
        (b"18446744073709551616", b""),
        (b"[]", b""),
        (b'["list", 3]', b""),
        (b'["list"]', b""),
        (b'["list", ' * 20 + b"[]" + b"]" * 20, b""),
    ],
)
def test_a_malformed_message_is_refused(tree, payload):
    with pytest.raises(wire.WireError, match="malformed"):
        wire.unpack(tree, payload)


def test_a_bool_tensor_of_other_bytes_is_made_one():
    value = wire.unpack(b'["tensor", "bool", [3]]', b"\x00\x02\xff")
    assert value.to(torch.uint8).tolist() == [0, 1, 1]


@pytest.fixture
def ends():
    """Two ends of a socket: a channel, and the bare socket at the other end."""
    ours, theirs = socket.socketpair()
    fd = ours.detach()
    channel = wire.Channel(fd, fd)
    yield channel, theirs
    theirs.close()
    channel.close()


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (struct.pack("<4sIQ", b"pick", 1, 0), "does not begin like one"),
        (struct.pack("<4sIQ", b"mml1", wire.MAX_JSON + 1, 0), "too large"),
        (struct.pack("<4sIQ", b"mml1", 1, 1 << 60), "too large"),
    ],
)
def test_a_head_that_promises_too_much_is_refused_before_anything_is_read(ends, head, says):
    channel, theirs = ends
    theirs.sendall(head)
    with pytest.raises(wire.WireError, match=says):
        channel.receive(time.monotonic() + 60)


def test_a_deadline_is_that_of_the_whole_message(ends):
    channel, theirs = ends
    stop = threading.Event()

    def drip():
        for byte in wire.pack("x" * 10_000):
            if stop.wait(0.01):
                return
            theirs.sendall(bytes([byte]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    with pytest.raises(wire.LateError):
        channel.receive(time.monotonic() + 0.3)
    assert dripping.is_alive()  # the message takes 100 seconds
    stop.set()
    dripping.join()


def test_an_end_that_does_not_read_or_is_gone_is_noticed(ends):
    channel, theirs = ends
    with pytest.raises(wire.LateError):
        channel.send(b"x" * (8 << 20), time.monotonic() + 0.2)
    theirs.close()
    with pytest.raises(wire.ClosedError):
        channel.receive(time.monotonic() + 60)
