"""A student's function at a distance, as the judge sees it."""

import contextlib
import json
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from classes import EXERCISES, QUICK

from mmlite.exercises import judge
from mmlite.grading import wire
from mmlite.grading.host import marking
from mmlite.grading.host.remote import Worker, WorkerError


@contextlib.contextmanager
def answering(function, replies=None):
    """Yield a `Worker` whose process is a thread here that calls `function`."""
    ours, theirs = socket.socketpair()
    fd, other = ours.detach(), theirs.detach()
    far = wire.Channel(other, other)

    def serve():
        from mmlite.grading.guest.worker import _answer, _reply

        with contextlib.suppress(wire.ClosedError):
            while True:
                request = far.receive()
                if replies is not None:
                    far.send(replies(request))
                    continue
                _reply(far, request["nonce"], _answer({"f": function}, request))

    thread = threading.Thread(target=serve)
    thread.start()
    worker = Worker(wire.Channel(fd, fd), lambda patience: 0, QUICK)
    yield worker
    worker.end()
    thread.join()
    far.close()


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_the_judge_judges_at_a_distance_as_it_does_at_hand(exercise):
    with answering(exercise.reference) as worker:
        verdict = judge(exercise, lambda *given: worker.call("f", given, []), hidden=True, seed=4)
        assert verdict.status == "passed", verdict.message
    for mistake in exercise.mistakes:
        with answering(mistake.function) as worker:
            verdict = judge(exercise, lambda *given: worker.call("f", given, []), seed=4)
        assert verdict.mistake == mistake.name


def test_a_stub_at_a_distance_is_not_started_and_errors_keep_their_names():
    def stub(*given):
        raise NotImplementedError

    def failing(*given):
        raise LookupError("none\nat all")

    exercise = EXERCISES[0]
    for function, status, message in (
        (stub, "not started", "still the stub"),
        (failing, "wrong", "raised LookupError: none at all"),
    ):
        with answering(function) as worker:
            verdict = judge(exercise, lambda *given, w=worker: w.call("f", given, []))
        assert verdict.status == status
        assert message in verdict.message


def test_changes_to_arguments_come_back():
    def change(x, pair, generator):
        x += 1
        pair[0].zero_()
        return torch.rand(2, generator=generator)

    x, first, generator = torch.zeros(2), torch.ones(3), torch.Generator().manual_seed(1)
    with answering(change) as worker:
        worker.call("f", (x, (first, 2), generator), [])
        # else what is compared later could be changed now and restored in time
        with pytest.raises(WorkerError, match="changed its inputs; work on a copy"):
            worker.call("f", (x, (first, 2), generator), [])
    assert x.tolist() == [1, 1]
    assert first.tolist() == [0, 0, 0]


def test_the_time_limit_counts_calls_and_not_the_graders_own_work():
    with answering(lambda seconds: time.sleep(seconds)) as worker:
        worker.left = 60
        time.sleep(0.3)
        assert worker.left == 60
        for before in (60, 59.8):
            worker.call("f", (0.2,), [])
            assert worker.left <= before - 0.2
        worker.left = 0.3
        with pytest.raises(WorkerError, match="no answer within"):
            worker.call("f", (0.4,), [])


def test_seconds_without_a_processor_are_given_back():
    with answering(lambda seconds: time.sleep(seconds)) as worker:
        asked = []

        def waited():
            asked.append(1)
            return 0.5 * len(asked)  # half a second more each time: a busy machine

        worker._waited = waited
        worker.left = 0.2
        worker.call("f", (1.5,), [])
        assert len(asked) >= 3
        worker._waited = lambda: 0.5 * len(asked)  # and from now on an idle one
        with pytest.raises(WorkerError, match="no answer within"):
            worker.call("f", (3,), [])


def test_what_a_reply_costs_the_grader_is_bounded():
    odd = ["list", [["strange", f"name{n}"] for n in range(60_000)]]
    with pytest.raises(wire.WireError, match="malformed"):
        wire.unpack(json.dumps(odd).encode(), b"")
    names = wire.unpack(json.dumps(["list", odd[1][:1000]]).encode(), b"")
    assert len({type(one) for one in names}) <= 65


BOTH = [
    2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2),
]  # fmt: skip
REAL = [
    2.0, np.float64(2), np.float32(2), np.float16(2), np.longdouble(2), np.array(2.0),
    torch.tensor(2.0), torch.tensor(2.0, requires_grad=True), torch.tensor(2.0).double(),
]  # fmt: skip
NONE = [
    True, np.bool_(True), np.array([2.0]), torch.tensor([2.0]), "2", None, np.str_("2"), 2j,
    np.complex64(2), np.datetime64(2, "s"), 3.0, np.float32("nan"), np.int64(3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "whole", "real"),
    [(BOTH, "passed", "passed"), (REAL, "wrong", "passed"), (NONE, "wrong", "wrong")],
)
def test_a_number_of_any_kind_is_judged_at_a_distance_as_at_hand(values, whole, real):
    for expected, status in ((2, whole), (2.0, real)):
        exercise = replace(
            EXERCISES[0],
            reference=lambda x, expected=expected: expected,
            draw=lambda generator, size: (1.0,),
            mistakes=(),
        )
        for value in values:
            with answering(lambda x, value=value: value) as worker:
                far = judge(exercise, lambda *given, w=worker: w.call("f", given, []))
            assert far.status == status, value
            assert judge(exercise, lambda x, value=value: value).status == status, value


def test_a_generator_moves_on():
    def draw(generator):
        return torch.rand(2, generator=generator)

    generator, expected = (torch.Generator().manual_seed(1) for _ in range(2))
    with answering(draw) as worker:
        for _ in range(3):
            assert torch.equal(worker.call("f", (generator,), []), draw(expected))


@pytest.mark.parametrize(
    "given",
    [
        (torch.zeros(8193),),
        (torch.zeros(4000, 1),),  # each row with each other: 128 MB
        (torch.zeros(0, 2**31 - 1),),
        (torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor(10**12)),
        (torch.zeros(1, 1), torch.zeros(1, 1), 10**12),
        (torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([2e8])),
        (torch.zeros(2, 1), torch.tensor([0, 10**7])),
        (torch.zeros(2, 1), torch.tensor([-(2**63), 0])),
        (torch.zeros(2, 1), 1e9),
        ([0.0] * 5,),
        ("x",),
    ],
)
def test_the_grader_is_asked_about_little(given):
    earlier, later = EXERCISES[1], EXERCISES[2]
    with pytest.raises(ValueError, match="asked about"):
        marking._oracle(later, earlier.id, given, {})
    with pytest.raises(ValueError, match="asked about"):
        marking._oracle(later, earlier.id, (), {"x": given[-1]})
    with pytest.raises(ValueError, match=r"02\.1 does not come before 01\.3"):
        marking._oracle(later, "02.1", (), {})


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda request: 5, "answered before it was asked"),
        (lambda request: {"nonce": request["nonce"] + 1, "result": 1}, "before it was asked"),
        (lambda request: {"nonce": request["nonce"]}, "cannot be read"),
        (lambda request: {"nonce": request["nonce"], "result": 1}, "cannot be read"),
        (
            lambda request: {"nonce": request["nonce"], "result": 1, "arguments": (2,)},
            "cannot be read",
        ),
        (
            lambda request: {"nonce": request["nonce"], "ask": "01.1", "arguments": ()},
            "asked too often",
        ),
    ],
)
def test_replies_that_are_none_are_refused(reply, says):
    with (
        answering(None, reply) as worker,
        pytest.raises(WorkerError, match=says),
    ):
        worker.call("f", (torch.zeros(2),), [])
