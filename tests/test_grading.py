"""Grading: what travels, what runs, who is who, what is written, and that nothing hostile pays."""

import contextlib
import csv
import functools
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import grading_corpus as corpus
import pytest
import test_exercises
import torch

from mmlite import cli
from mmlite.classroom import LessonError
from mmlite.exercises import all_exercises, judge
from mmlite.grading import batch, container, library, marking, notebook, report, sandbox, wire
from mmlite.grading.sandbox import AnswerError, Sandbox, Settings, Worker
from mmlite.grading.submissions import SubmissionError, find_submissions

ROOT = Path(__file__).resolve().parents[1]
LESSONS = {"01": "contrastive", "02": "redundancy", "03": "confounders"}
EXERCISES = list(all_exercises().values())
QUICK = Settings(corpus.LIMIT, corpus.MEMORY)


# What travels --------------------------------------------------------------------------------


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


# A function at a distance --------------------------------------------------------------------


@contextlib.contextmanager
def answering(function, replies=None):
    """Yield a `Worker` whose process is a thread here that calls `function`."""
    ours, theirs = socket.socketpair()
    fd, other = ours.detach(), theirs.detach()
    far = wire.Channel(other, other)

    def serve():
        from mmlite.grading.worker import _answer, _reply

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
        with pytest.raises(AnswerError, match="changed its inputs; work on a copy"):
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
        with pytest.raises(AnswerError, match="no answer within"):
            worker.call("f", (0.4,), [])


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
        (lambda request: {"nonce": request["nonce"]}, "nonsense"),
        (lambda request: {"nonce": request["nonce"], "result": 1}, "nonsense"),
        (
            lambda request: {"nonce": request["nonce"], "result": 1, "arguments": (2,)},
            "nonsense",
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
        pytest.raises(AnswerError, match=says),
    ):
        worker.call("f", (torch.zeros(2),), [])


# What of a notebook is run -------------------------------------------------------------------


def needs(*sources: str, name: str = "f") -> list[str]:
    source = notebook.read(corpus.notebook(*sources), {name})
    return [notebook.ast.unparse(s.node).split("\n")[0] for s in notebook.needed(source, name)]


def test_only_what_an_answer_needs_is_run():
    assert needs(
        "import os, torch\nfrom math import *",
        "train = load()\nz = train.z",
        "eps = tiny(3)",
        "def helper(x):\n    return x + eps",
        "def f(x):\n    z = x\n    return helper(z) + torch.pi",
        "print(f(train))",
        "unused = f(1)",
    ) == [
        "import os, torch",
        "from math import *",
        "eps = tiny(3)",
        "def helper(x):",
        "def f(x):",
    ]


def test_setting_an_item_or_an_attribute_counts_as_binding():
    assert needs(
        "table, config = [0, 0], Config()",
        "table[1] = 5",
        "config.a.eps = 3\nconfig.steps[0] += 1",
        "(table[0], other), *rest = parts()",
        "def helper(x):\n    table[0] = 1",
        "elsewhere[table[0]] = 7",
        "def f(x):\n    return table[x] + config.a.eps",
        "def parts():\n    return (1, 2), 3",
        "for table[1] in range(3):\n    pass",
    ) == [
        "table, config = ([0, 0], Config())",
        "table[1] = 5",
        "config.a.eps = 3",
        "config.steps[0] += 1",
        "(table[0], other), *rest = parts()",
        "def f(x):",
        "def parts():",
        "for table[1] in range(3):",
    ]


def test_a_future_import_holds_for_all_cells():
    source = notebook.read(
        corpus.notebook(
            "from __future__ import annotations",
            "def f(x: NeverDefined) -> Nowhere:\n    return x",
            "from __future__ import braces",
        ),
        {"f"},
    )
    namespace = {}
    ((_, error),) = notebook.run(notebook.needed(source, "f"), namespace)
    assert error.startswith("SyntaxError: not a chance")
    assert namespace["f"].__annotations__ == {"x": "NeverDefined", "return": "Nowhere"}


def test_definitions_inside_statements_count_and_the_last_one_holds():
    source = notebook.read(
        corpus.notebook(
            "try:\n    import g\nexcept ImportError:\n    g = 1",
            "def f():\n    return g",
            "if True:\n    def f():\n        return g + 1",
        ),
        {"f"},
    )
    namespace = {}
    assert notebook.run(notebook.needed(source, "f"), namespace) == []
    assert namespace["f"]() == 2


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("%time x = 1\ny = 2", "pass\ny = 2"),
        ("!ls\nfiles = !ls\nx = %who\nlen?", "pass\npass\npass\npass"),
        ("if x:\n    %matplotlib inline", "if x:\n    pass"),
        ("%%bash\necho", ""),
        ("%%time\nx = 1", "pass\nx = 1"),
        ("x = 7 % 3", "x = 7 % 3"),
    ],
)
def test_what_is_ipythons_own_is_left_out(source, plain):
    assert notebook.plain_python(source) == plain


# What of the library is there ----------------------------------------------------------------


@pytest.mark.parametrize("lesson", sorted({exercise.id[:2] for exercise in EXERCISES}))
def test_no_reference_is_sent_to_the_sandbox(lesson):
    sources = "\n".join(library.library(lesson).values())
    sentences = library.withheld(lesson)
    for exercise in EXERCISES:
        name = exercise.reference.__name__
        if exercise.id[:2] >= lesson:
            assert not re.search(rf"^def {name}\b", sources, re.MULTILINE), name
            assert sentences[exercise.home.rpartition(".")[2]].endswith("asks you to write")
    assert "Mistake(" not in sources


def test_earlier_lessons_functions_are_there():
    assert "mmlite.contrastive" in library.library("02")
    assert "mmlite.redundancy" not in library.library("02")
    assert "mmlite.redundancy" in library.library("03")


# Who handed in what --------------------------------------------------------------------------


def names(source: Path) -> list[tuple[str, str | None]]:
    return [(one.student, one.lesson) for one in find_submissions(source, LESSONS)]


@pytest.mark.parametrize(
    ("path", "student", "lesson"),
    [
        ("ada.ipynb", "ada", None),
        ("ada_01_contrastive.ipynb", "ada", "01"),
        ("01_contrastive_ada.ipynb", "ada", "01"),
        ("ada lovelace-02.ipynb", "ada lovelace", "02"),
        ("s0117_01.ipynb", "s0117", "01"),
        ("01_contrastive.ipynb", "01_contrastive", "01"),
        ("ada/01_contrastive/01_contrastive.ipynb", "ada", "01"),
        ("ada/02_redundancy.ipynb", "ada", "02"),
        ("ada/lesson 03/work.ipynb", "ada", "03"),
        ("team-01_03_confounders.ipynb", "team-01", "03"),
        ("ada-2026-02-03_confounders.ipynb", "ada-2026-02", "03"),
        ("Ada Byron_4711_assignsubmission_file_/01_contrastive.ipynb", "Ada Byron", "01"),
        ("Ada Byron_4711_assignsubmission_file_01_contrastive.ipynb", "Ada Byron", "01"),
        ("byronada_123_4567_01_contrastive-2.ipynb", "byronada", "01"),
        ("byronada_LATE_123_4567_01_contrastive.ipynb", "byronada", "01"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_names_tell_student_and_lesson(tmp_path, path, student, lesson, zipped):
    files = {path: b"1", "zoe/01_contrastive.ipynb": b"2"}
    source = make(tmp_path, files, zipped)
    assert names(source) == [(student, lesson), ("zoe", "01")]


def test_two_students_of_one_name_are_two(tmp_path):
    source = make(
        tmp_path,
        {
            "Ada Byron_1_assignsubmission_file_/01.ipynb": b"",
            "Ada Byron_2_assignsubmission_file_/01.ipynb": b"",
            "Bob_3_assignsubmission_file_/01.ipynb": b"",
        },
        zipped=True,
    )
    assert names(source) == [("Ada Byron (1)", "01"), ("Ada Byron (2)", "01"), ("Bob", "01")]


def make(folder: Path, files: dict[str, bytes], zipped: bool = False) -> Path:
    source = folder / ("class.zip" if zipped else "class")
    if zipped:
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        for name, data in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    return source


def test_a_folder_around_the_class_is_taken_off(tmp_path):
    source = make(tmp_path, {"week 3/ada.ipynb": b"", "week 3/bob/02.ipynb": b""}, True)
    assert names(source) == [("ada", None), ("bob", "02")]


def test_the_latest_file_counts_and_systems_files_do_not(tmp_path):
    source = make(
        tmp_path,
        {
            "ada/01.ipynb": b"old", "ada/01_contrastive.ipynb": b"new", "ada/notes.txt": b"",
            "ada/.ipynb_checkpoints/01.ipynb": b"", "bob/timestamp.txt": b"", ".DS_Store": b"",
        },
    )  # fmt: skip
    os.utime(source / "ada/01.ipynb", (0, 0))
    (one,) = find_submissions(source, LESSONS)
    assert one.read() == b"new"


def test_what_is_not_a_notebook_is_told(tmp_path):
    source = make(tmp_path, {"ada/essay.docx": b"", "bob.ipynb": b""})
    ada = find_submissions(source, LESSONS)[0]
    with pytest.raises(SubmissionError, match=r"essay.docx was handed in, which is not a notebook"):
        ada.read()


def test_links_and_pipes_are_not_read(tmp_path):
    source = make(tmp_path, {"ada.ipynb": b""})
    (source / "bob.ipynb").symlink_to("/etc/passwd")
    (source / "eve").symlink_to(ROOT / "solutions")
    os.mkfifo(source / "fay.ipynb")
    _, bob, eve, fay = find_submissions(source, LESSONS)
    for one in (bob, eve, fay):
        with pytest.raises(SubmissionError, match=r"is a link|not a regular file|not a notebook"):
            one.read()


def test_tricks_in_a_zip_are_refused_and_cost_nobody_else_anything(tmp_path):
    source = tmp_path / "class.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("../../ada.ipynb", "/etc/bob.ipynb", "C:\\eve.ipynb", "x/../../fay.ipynb"):
            archive.writestr(name, "{}")
        link = zipfile.ZipInfo("gus/01.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        with archive.open("hal.ipynb", "w", force_zip64=True) as bomb:
            for _ in range(300):
                bomb.write(bytes(1 << 20))
        archive.writestr("ian.ipynb", b"fine")
        archive.writestr("=1+1/01.ipynb", b"fine")
    found = find_submissions(source, LESSONS)
    read = {}
    for one in found:
        try:
            read[one.student] = one.read()
        except SubmissionError as error:
            read[one.student] = str(error)
    assert read.pop("ian") == read.pop("=1+1") == b"fine"
    assert len(read) == 6
    assert "is a link" in read.pop("gus")
    assert "has 315 MB; at most 268 MB" in read.pop("hal")
    assert all("it was not read" in said for said in read.values())
    assert [path.name for path in tmp_path.rglob("*")] == ["class.zip"]


def test_a_damaged_or_encrypted_zip_is_told(tmp_path):
    source = make(tmp_path, {"ada.ipynb": b"a" * 1000, "bob.ipynb": b"b" * 1000}, True)
    data = bytearray(source.read_bytes())
    data[data.index(b"aaaa")] ^= 1
    source.write_bytes(data)
    ada, bob = find_submissions(source, LESSONS)
    with pytest.raises(SubmissionError, match="cannot be read: Bad CRC"):
        ada.read()
    assert bob.read() == b"b" * 1000
    source.write_bytes(data[:50])
    with pytest.raises(LessonError, match="not a zip that can be read"):
        find_submissions(source, LESSONS)


def test_nothing_to_grade_is_said(tmp_path):
    with pytest.raises(LessonError, match="neither a folder nor a zip"):
        find_submissions(tmp_path / "none", LESSONS)
    with pytest.raises(LessonError, match="holds no submissions"):
        find_submissions(tmp_path, LESSONS)


@pytest.mark.parametrize("inside", ["out", "a/b/out", "."])
def test_marks_do_not_go_where_submissions_are_looked_for(tmp_path, inside):
    source = small_class(tmp_path)
    with pytest.raises(LessonError, match="choose a folder beside it"):
        run_class(source, source / inside, Instead())
    assert sorted(path.name for path in source.iterdir()) == ["ada.ipynb", "bob.ipynb", "eve.ipynb"]


# The corpus ----------------------------------------------------------------------------------


@dataclass
class Graded:
    record: dict
    out: Path
    touched: Path
    heard: bool
    left: list[str]
    description: str


def processes() -> dict[int, str]:
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found[int(path.name)] = (path / "cmdline").read_bytes().decode(errors="replace")
    return found


def common_files() -> set[str]:
    return {str(path) for place in ("/tmp", "/dev/shm") for path in Path(place).glob("*")}


def leftovers(before_pids: dict[int, str], before_files: set[str], out: Path) -> list[str]:
    """Return new processes that are ours to blame, and new files where everybody may write."""
    ours = [
        f"process {pid}: {line[:80]}"
        for pid, line in processes().items()
        if pid not in before_pids and "grading.zygote" in line
    ]
    files = [f for f in common_files() - before_files if "mmlite-" in f or "-by-a-worker" in f]
    return ours + files + [str(path) for path in out.rglob("*") if path.name == "TOUCH"]


def grade_cases(cases, folder: Path, plain: bool) -> Graded:
    source, out = folder / "class", folder / "out"
    source.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        touched = folder / "touched"
        place = corpus.Place(ROOT, out, listener.getsockname()[1], touched)
        for case in cases:
            path = source / f"{case.name}.ipynb"
            data = case.make(place, path)
            if data is not None:
                path.write_bytes(data)
        before, files = processes(), common_files()
        with Sandbox(hidden=(ROOT, source, out), plain=plain) as box:
            batch.grade(source, out, LESSONS, box, QUICK, jobs=2, lesson="01")
        try:
            listener.accept()
            heard = True
        except TimeoutError:
            heard = False
    for path in source.iterdir():  # 200 MB of it
        path.unlink()
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    left = leftovers(before, files, out)
    return Graded(record, out, touched, heard, left, box.description)


def namespaces_are_there() -> bool:
    try:
        with Sandbox() as box:
            return box.description == sandbox.NAMESPACES
    except LessonError:
        return False


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Graded:
    if not namespaces_are_there():
        pytest.skip(
            "no sandbox of namespaces starts here, and hostile code is not let loose without; "
            "`mmlite grade` says what is in force: keep the environment out of the "
            "system's temporary folder, and let ordinary users create namespaces"
        )
    return grade_cases(corpus.CASES, tmp_path_factory.mktemp("corpus"), plain=False)


def assert_outcome(case: corpus.Case, record: dict) -> None:
    student = record["students"][case.name]
    (entry,) = student["submissions"]
    first = entry["marks"][0]
    assert student["failed"] == (case.status is None)
    assert first["status"] == (case.status or "missing")
    assert re.search(case.says, entry["fault"] or first["message"]), first["message"]
    assert student["total"] == case.total
    assert not case.note or any(re.search(case.note, note) for note in entry["notes"])


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_each_submission_of_the_corpus_gets_what_it_is_worth(case, graded):
    assert_outcome(case, graded.record)


def test_the_corpus_leaves_nothing_and_reaches_nothing(graded):
    assert len(corpus.CASES) >= 30
    assert graded.left == []
    assert not graded.heard
    assert not graded.touched.exists()
    assert "forger" not in graded.record["students"]
    assert sorted(p.name for p in graded.out.iterdir()) == ["feedback", "grades.csv", "grades.json"]


def test_pages_of_the_corpus_hold_no_students_markup(graded):
    page = (graded.out / "feedback" / "hostile-error.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;=1+1&lt;/b&gt;" in page
    assert "<script" not in page
    assert "\x1b" not in page
    for path in (graded.out / "feedback").iterdir():
        assert len(path.read_bytes()) < 20_000


def test_a_page_tells_hidden_tests_by_name_only(graded):
    page = (graded.out / "feedback" / "memorised.html").read_text(encoding="utf-8")
    assert "instant check ✓, hidden test 1 ✗" in page
    assert "right in the instant check, but not for inputs of other sizes" in page
    section = page[page.index("01.1") : page.index("01.2")]
    assert not re.search(r"\[\d+, \d+\]|expected \S+, got", section)


PLAIN = {
    "endless-loop", "fork-bomb", "forked-memory-bomb", "disk-fill", "daemon", "os-exit",
    "memory-bomb", "flood", "by-numpy",
}  # fmt: skip
if os.geteuid() == 0:  # else a worker is the grader's own user, and its files are not told apart
    PLAIN.add("litter")


def test_without_namespaces_limits_hold_and_nothing_is_left(tmp_path):
    cases = [case for case in corpus.CASES if case.name in PLAIN]
    graded = grade_cases(cases, tmp_path, plain=True)
    assert graded.description == sandbox.PLAIN
    for case in cases:
        assert_outcome(case, graded.record)
    assert graded.left == []


# A class -------------------------------------------------------------------------------------


class Instead:
    """A sandbox that must not be used."""

    description = "nothing"

    def worker(self, *_):
        raise AssertionError("this was marked before")

    def close(self):
        pass


@pytest.fixture(scope="module")
def box():
    with Sandbox() as box:
        yield box


def small_class(folder: Path) -> Path:
    right = corpus.notebook(corpus.SETUP, corpus.COSINE, corpus.PUSH)
    half = corpus.notebook(corpus.SETUP, corpus.body("return a @ b.T"), corpus.COLLAPSED)
    return make(folder, {"ada.ipynb": right, "bob.ipynb": half, "eve.ipynb": b"no notebook"})


def run_class(source: Path, out: Path, box, **more) -> batch.Summary:
    return batch.grade(source, out, LESSONS, box, QUICK, **more)


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_rerun_changes_nothing_and_marks_only_what_changed(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    assert run_class(source, out, box) == batch.Summary(3, marked=3, known=0, failed=1, late=0)
    before = files_of(out)
    still = Instead()
    still.description = box.description
    assert run_class(source, out, still) == batch.Summary(3, 0, 3, failed=1, late=0)
    assert files_of(out) == before
    (source / "bob.ipynb").write_bytes((source / "ada.ipynb").read_bytes())
    (source / "eve.ipynb").unlink()
    assert run_class(source, out, box).submissions == 2
    after = files_of(out)
    assert "feedback/eve.html" not in after
    assert after["feedback/bob.html"] != before["feedback/bob.html"]
    assert after["feedback/ada.html"] == before["feedback/ada.html"]
    with pytest.raises(AssertionError, match="marked before"):  # other limits, other marks
        batch.grade(source, out, LESSONS, still, replace(QUICK, timeout=9))


def test_an_interrupted_batch_goes_on_where_it_stopped(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    marked = []

    def interrupt(student):
        marked.append(student)
        raise KeyboardInterrupt

    class Kept:  # the module's sandbox goes on after this test
        description, worker = box.description, box.worker

        def close(self):
            pass

    with pytest.raises(KeyboardInterrupt):
        run_class(source, out, Kept(), on_submission=interrupt)
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    assert [name for name, one in record["students"].items() if one["submissions"]] == marked
    assert run_class(source, out, box).known == 1
    whole, again = tmp_path / "whole", json.loads((out / "grades.json").read_text())
    run_class(source, whole, box)
    record = json.loads((whole / "grades.json").read_text())
    assert {n: s["total"] for n, s in record["students"].items()} == {
        n: s["total"] for n, s in again["students"].items()
    }


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(tmp_path):
    source, out = small_class(tmp_path), tmp_path / "out"
    spin = corpus.body("import time\ntime.sleep(600)")
    (source / "zoe.ipynb").write_bytes(corpus.notebook(corpus.SETUP, spin))
    before, files = processes(), common_files()
    command = [sys.executable, "-m", "mmlite.cli", "grade", str(source), "--out", str(out)]
    command += ["--timeout", "500", "--jobs", "2"]
    # a run of tests in the background may ignore Ctrl-C, and its children with it
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, preexec_fn=heard, **pipes) as running:
        while not (out / "grades.json").exists() or len(marked_in(out)) < 3:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
    assert running.returncode == 130
    assert b"run the same again to go on" in said
    assert b"Traceback" not in said
    assert marked_in(out) == ["ada", "bob", "eve"]
    assert leftovers(before, files, out) == []


def marked_in(out: Path) -> list[str]:
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    return [name for name, student in record["students"].items() if student["submissions"]]


def test_the_table_says_marks_lateness_and_failure(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    noon = datetime(2026, 11, 30, 12)
    for name, hour in (("ada", 11), ("bob", 13), ("eve", 11)):
        stamp = noon.replace(hour=hour).timestamp()
        os.utime(source / f"{name}.ipynb", (stamp, stamp))
    assert run_class(source, out, box, due=noon).late == 1
    rows = list(csv.reader(io.StringIO((out / "grades.csv").read_text(encoding="utf-8"))))
    ids = [f"01.{n}" for n in range(1, 7)]
    assert rows == [
        ["student", *ids, "total", "of", "late", "failed"],
        ["ada", "1", "0", "0", "0", "2", "0", "3", "15", "no", "no"],
        ["bob", "0", "0", "0", "0", "0", "2", "2", "15", "yes", "no"],
        ["eve", *[""] * 6, "0", "15", "no", "yes"],
    ]


def test_a_record_that_is_none_is_not_overwritten(tmp_path, box):
    source, out = small_class(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "grades.json").write_text("[1]")
    with pytest.raises(LessonError, match="not of an earlier run; move it away"):
        run_class(source, out, box)
    assert (out / "grades.json").read_text() == "[1]"


def test_one_notebook_may_answer_two_lessons(tmp_path, box):
    redundancy = "def my_copied_loss(dim, off):\n    return off * dim * (dim - 1)"
    source = make(tmp_path, {"ada.ipynb": corpus.notebook(corpus.SETUP, corpus.PUSH, redundancy)})
    run_class(source, tmp_path / "out", box)
    record = json.loads((tmp_path / "out" / "grades.json").read_text())
    assert [e["lesson"] for e in record["students"]["ada"]["submissions"]] == ["01", "02"]
    assert record["students"]["ada"]["total"] == 4
    assert len(record["exercises"]) == 11


def test_an_answer_may_build_on_earlier_ones_its_own_or_the_courses(tmp_path, box):
    loss = (
        "cosine_similarity = check('01.1', my_cosine_similarity)\n"
        "def my_nt_xent(z1, z2, temperature):\n"
        "    z = torch.cat([z1, z2])\n"
        "    s = cosine_similarity(a=z, b=z) / temperature\n"
        "    s = s.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)\n"
        "    return F.cross_entropy(s, torch.arange(len(z)).roll(len(z1)))"
    )
    files = {
        "own.ipynb": corpus.notebook(corpus.SETUP, corpus.COSINE, loss),
        "courses.ipynb": corpus.notebook(corpus.SETUP, corpus.body("return a @ b.T"), loss),
        "rebound.ipynb": corpus.notebook(
            corpus.SETUP,
            corpus.COSINE,
            "my_cosine_similarity = check('01.1', my_cosine_similarity)",
            loss.replace("cosine_similarity = check('01.1', my_cosine_similarity)\n", "").replace(
                "s = cosine", "s = my_cosine"
            ),
        ),
    }
    run_class(make(tmp_path, files), tmp_path / "out", box)
    students = json.loads((tmp_path / "out" / "grades.json").read_text())["students"]
    totals = {name: student["total"] for name, student in students.items()}
    assert totals == {"own": 6, "courses": 5, "rebound": 6}


@pytest.mark.parametrize("which", [0, 1], ids=["first way", "second way"])
@pytest.mark.parametrize("lesson", sorted({exercise.id[:2] for exercise in EXERCISES}))
def test_right_answers_written_differently_get_all_their_points(lesson, which, box):
    imports = "import math\nimport numpy as np\nimport torch\nfrom torch.nn import functional as F"
    helpers = Path(test_exercises.__file__).read_text(encoding="utf-8")
    helpers = helpers[helpers.index("def cosine_by_loops") : helpers.index("RIGHT = {")]
    answers = {}
    for exercise in marking.exercises_of(lesson):
        name = test_exercises.RIGHT[exercise.id][which].__name__
        if name != "<lambda>":  # a lambda's source is that of the whole table
            answers[exercise.id] = f"{exercise.function} = {name}"
    data = corpus.notebook(*answers.values(), helpers, imports)
    marked = marking.mark(data, lesson, box, QUICK, seed=5)
    said = {mark.exercise: mark.message for mark in marked.marks if mark.exercise in answers}
    assert said == dict.fromkeys(answers, "right")
    assert len(answers) >= 3


def test_a_worker_has_what_torch_imports_at_the_first_derivative(box):
    # torch imports 900 modules at the first call of torch.func and of forward mode: four seconds
    # of an exercise's time, anew for each, unless the process that workers are forked from did it
    source = """
import sys, torch
from torch.autograd import forward_ad
from torch.nn import functional as F
def imported(x):
    before = set(sys.modules)
    torch.func.jvp(torch.func.grad(lambda y: (y**3).sum()), (x,), (x,))
    with forward_ad.dual_level():
        F.log_softmax(F.normalize(forward_ad.make_dual(x, x)), dim=1)
    return len(set(sys.modules) - before)
"""
    order = marking._order(corpus.notebook(source), "", "imported", ["imported"])
    with box.worker(QUICK) as worker:
        worker.load(order)
        assert worker.call("imported", (torch.ones(2, 2),), []) == 0


def test_the_librarys_functions_of_earlier_lessons_can_be_used(tmp_path, box):
    answer = (
        "import mmlite\n"
        "def my_barlow_twins(z1, z2, off_diagonal):\n"
        "    mmlite.nt_xent(z1, z2)\n"
        "    C = mmlite.cross_correlation(z1, z2)\n"
        "    return C.sum()"
    )
    run_class(make(tmp_path, {"a_02.ipynb": corpus.notebook(answer)}), tmp_path / "out", box)
    record = json.loads((tmp_path / "out" / "grades.json").read_text())
    mark = record["students"]["a"]["submissions"][0]["marks"][2]
    assert "mmlite.redundancy.cross_correlation is what exercise 02.1 asks" in mark["message"]


# Reports -------------------------------------------------------------------------------------


def record_of(*students: str) -> dict:
    student = {"submissions": [], "total": 0, "late": False, "failed": False}
    return {"students": dict.fromkeys(students, student), "exercises": ["01.1"]}


def test_every_name_is_quoted_and_no_two_share_a_page(tmp_path):
    # some spreadsheets part cells at a semicolon, and a formula could begin behind it
    table = report.grades_csv(record_of("x;=1+1"))
    assert '"x;=1+1",' in table
    students = ["Ada", report.page_name("Ada").removesuffix(".html")]
    report.write_report(tmp_path, record_of(*students))
    assert len(list((tmp_path / "feedback").iterdir())) == 2
    (tmp_path / "feedback" / "notes.html").write_text("<p>the teacher's own</p>")
    report.write_report(tmp_path, record_of("bob"))
    kept = sorted(path.name for path in (tmp_path / "feedback").iterdir())
    assert kept == ["bob.html", "notes.html"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1"])
def test_a_name_is_no_formula(name):
    row = list(csv.reader(io.StringIO(report.grades_csv(record_of(name)))))[1]
    assert row[0] == f"'{name}"


def test_names_are_kept_from_markup_paths_and_each_other(tmp_path):
    students = ["<b>ada</b>", "../ada", "ada", "Ada", "ADA", "ada/..", "a" * 300, "é", "ö"]
    report.write_report(tmp_path, record_of(*students))
    pages = list((tmp_path / "feedback").iterdir())
    assert len(pages) == len(students)
    assert len({page.name.lower() for page in pages}) == len(students)
    assert {path.parent.name for path in tmp_path.rglob("*.html")} == {"feedback"}
    assert not any("<b>" in page.read_text(encoding="utf-8") for page in pages)


# Containers and the command ------------------------------------------------------------------


def test_a_container_has_no_network_no_course_and_limits():
    command = container.docker_command("image", "name", Settings(20, 512))
    text = " ".join(command)
    for wanted in (
        "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--memory=1536m", "--memory-swap=1536m", "--pids-limit=64", "--user=65534:65534", "--rm",
    ):  # fmt: skip
        assert wanted in command
    mounted = re.findall(r"--volume=(\S+?):(\S+?):ro", text)
    assert [Path(source).exists() for source, _ in mounted] == [True] * len(mounted)
    assert not any("exercises" in source for source, _ in mounted)
    assert command[command.index("image") + 1 :] == ["python", "-I", "-c", container.RUN]


def test_what_a_container_runs_is_a_worker(tmp_path):
    # Docker is not needed for this: the mounted files alone, and the command's own line
    command = container.docker_command("image", "name", QUICK)
    for source, target in re.findall(r"--volume=(\S+?):(\S+?):ro", " ".join(command)):
        copy = tmp_path / target.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(source).read_bytes())
    line = container.RUN.replace("/grader", str(tmp_path / "grader"))
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )
    fds = [os.dup(stream.fileno()) for stream in (process.stdout, process.stdin)]
    process.stdout.close()
    process.stdin.close()
    order = {
        "notebook": corpus.notebook("def f(x):\n    print(x)\n    return 2 * x"),
        "library": {}, "withheld": {}, "function": "f", "wanted": ["f"],
    }  # fmt: skip
    with Worker(wire.Channel(*fds), lambda patience: process.wait(60), QUICK) as worker:
        assert worker.load(order)["status"] == "defined"
        assert worker.call("f", (torch.ones(2),), []).tolist() == [2, 2]
        worker.channel.close()
        worker.channel = type("Closed", (), {"close": lambda self: None})()


def test_a_container_that_cannot_be_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LessonError, match="Docker does not answer"):
        container.Container("image")


def test_the_command_grades_and_its_exit_code_means_something(tmp_path, capsys):
    source, out = small_class(tmp_path), tmp_path / "out"
    arguments = ["grade", str(source), "--out", str(out), "--jobs", "1", "--due", "2020-01-01"]
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert "3 submissions: 3 marked now, 0 known already" in printed.out
    assert "late: 3, with a notebook that could not be marked: 1" in printed.out
    assert "What holds each answer: " in printed.err
    (source / "eve.ipynb").unlink()
    assert cli.main(arguments) == 0
    assert "2 submissions: 0 marked now, 2 known already" in capsys.readouterr().out
    assert cli._local_time("2026-11-30T18:00").hour == 18
    with_zone = datetime.fromisoformat("2026-11-30T18:00+00:00")
    assert cli._local_time(with_zone.isoformat()).timestamp() == with_zone.timestamp()
    assert cli.main(["grade", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "neither a folder nor a zip" in capsys.readouterr().err
    assert cli.main([*arguments, "--lesson", "77"]) == 2
    assert "no exercises of lesson '77'" in capsys.readouterr().err
