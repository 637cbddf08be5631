"""The corpus of hostile and unusual submissions: each its mark, and nothing left or reached."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import corpus
import pytest
import scipy
from classes import LESSONS, QUICK, ROOT, common_files, leftovers

from mmlite.course.notebooks import LessonError
from mmlite.grading.guest import keeper, landlock, mounts, usage, zygote
from mmlite.grading.guest.keeper import Plan
from mmlite.grading.guest.limits import Limits
from mmlite.grading.host import batch, sandbox, trial
from mmlite.grading.host.remote import GraderFault
from mmlite.grading.host.sandbox import ISOLATIONS, Sandbox


@dataclass
class Graded:
    record: dict
    out: Path
    touched: Path
    heard: bool
    left: list[str]
    description: str


# On a busy machine a bomb's own work takes the few seconds of QUICK: what is not about time has
# a minute.
PATIENT = replace(QUICK, timeout=60)


def grade_cases(cases, folder: Path, isolation: str) -> list[Graded]:
    about_time = [case for case in cases if "TimeLimit" in case.says]
    others = [case for case in cases if case not in about_time]
    return [
        grade_with(QUICK, about_time, folder / "quick", isolation),
        grade_with(PATIENT, others, folder / "patient", isolation),
    ]


def grade_with(settings, cases, folder: Path, isolation: str) -> Graded:
    source, out = folder / "class", folder / "out"
    source.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        touched = folder / "touched"
        place = corpus.Place(ROOT, out, listener.getsockname()[1], touched)
        for case in cases:
            path = source / f"{case.name}.ipynb"
            data = case.make(place, path)
            if data is not None:
                path.write_bytes(data)
        files = common_files()
        with Sandbox(hidden=(ROOT, source, out), isolation=isolation) as box:
            batch.grade(source, out, LESSONS, box, settings, batch.Wishes("01"), jobs=2)
            session = box._process.pid
        try:
            listener.accept()
            heard = True
        except TimeoutError:
            heard = False
    for path in source.iterdir():  # 200 MB of it
        path.unlink()
    record = json.loads((out / "grades.json").read_text(encoding="utf-8"))
    left = leftovers(session, files, out)
    return Graded(record, out, touched, heard, left, box.description)


def offered(isolation: str) -> bool:
    try:
        Sandbox(isolation=isolation).close()
    except LessonError:
        return False
    return True


# marking the corpus takes minutes: what reads one marking runs in one worker
CORPORA = [
    pytest.param(one, marks=pytest.mark.xdist_group(f"corpus, {one}"))
    for one in ("namespaces", "landlock")
]


@pytest.fixture(scope="module", params=CORPORA)
def graded(request, tmp_path_factory) -> list[Graded]:
    if not offered(request.param):
        pytest.skip(
            f"no sandbox of {request.param} starts here, and "
            "hostile code is not let loose without; `mmlite grade` says what is in force and why"
        )
    return grade_cases(corpus.CASES, tmp_path_factory.mktemp("corpus"), request.param)


def assert_outcome(case: corpus.Case, graded: list[Graded]) -> None:
    records = [one.record["students"] for one in graded]
    (student,) = [students[case.name] for students in records if case.name in students]
    (entry,) = student["submissions"]
    first = entry["marks"][0]
    assert student["failed"] == (case.status is None)
    assert first["status"] == (case.status or "missing")
    assert re.search(case.says, entry["fault"] or first["message"]), first["message"]
    assert student["total"] == case.total
    assert not case.note or any(re.search(case.note, note) for note in entry["notes"])


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_each_submission_of_the_corpus_gets_what_it_is_worth(case, graded):
    assert_outcome(case, graded)


def test_the_corpus_leaves_nothing_and_reaches_nothing(graded):
    assert len(corpus.CASES) >= 30
    written = ["feedback", "grades.csv", "grades.json", "index.html"]
    for one in graded:
        assert one.left == []
        assert not one.heard
        assert not one.touched.exists()
        assert "forger" not in one.record["students"]
        assert sorted(path.name for path in one.out.iterdir()) == written


def feedback(graded: list[Graded]) -> dict[str, Path]:
    """Return the page of each student."""
    return {path.stem: path for one in graded for path in (one.out / "feedback").iterdir()}


def test_pages_of_the_corpus_hold_no_students_markup(graded):
    page = feedback(graded)["hostile-error"].read_text(encoding="utf-8")
    assert "&lt;b&gt;=1+1&lt;/b&gt;" in page
    assert "<script" not in page
    assert "\x1b" not in page
    for path in feedback(graded).values():
        assert len(path.read_bytes()) < 20_000


def test_a_page_tells_hidden_tests_by_name_only(graded):
    page = feedback(graded)["memorized"].read_text(encoding="utf-8")
    assert "instant check ✓, hidden test 1 ✗" in page
    assert "right in the instant check, but not for inputs of other sizes" in page
    section = page[page.index("01.1") : page.index("01.2")]
    assert not re.search(r"\[\d+, \d+\]|expected \S+, got", section)


PLAIN = {
    "endless-loop", "fork-bomb", "forked-memory-bomb", "disk-fill", "daemon", "os-exit",
    "memory-bomb", "flood", "by-numpy",
}  # fmt: skip


def test_with_limits_only_they_hold_and_nothing_is_left(tmp_path, limits_only):
    cases = [case for case in corpus.CASES if case.name in PLAIN]
    graded = grade_cases(cases, tmp_path, "limits")
    for case in cases:
        assert_outcome(case, graded)
    for one in graded:
        assert one.description == ISOLATIONS["limits"]
        assert one.left == []


@pytest.mark.parametrize("isolation", ["namespaces", "landlock"])
def test_a_worker_that_cannot_import_what_is_installed_costs_nobody_a_mark(isolation):
    # as an environment in a folder that the worker's user may not read
    hidden = Path(scipy.__file__).parent
    with pytest.raises(LessonError, match=r"could not import .*; nothing was marked"):
        Sandbox(hidden=(hidden, Path(csv.__file__)), isolation=isolation)


def test_why_a_tighter_isolation_is_not_there_is_said(monkeypatch):
    def no_namespaces(isolation):
        return "a reason" if isolation == "namespaces" else None

    monkeypatch.setattr(sandbox, "_lacking", no_namespaces)
    with pytest.raises(LessonError, match=r"does not start \(namespaces: a reason\); nothing was"):
        Sandbox(isolation="namespaces")
    if landlock.version():
        with Sandbox() as box:
            assert box.description == f"{ISOLATIONS['landlock']}. Not in namespaces: a reason"


@pytest.mark.parametrize("isolation", ["namespaces", "landlock"])
def test_an_environment_in_the_temporary_folder_is_in_sight(isolation, tmp_path, monkeypatch):
    if not offered(isolation):
        pytest.skip(f"no sandbox of {isolation} starts here")
    tmp_path.chmod(0o755)  # for every user, as an environment is
    (tmp_path / "package.py").write_text("VALUE = 7")
    readable = [*sandbox.readable_paths(), str(tmp_path)]
    monkeypatch.setattr(sandbox, "readable_paths", lambda: readable)
    source = f"""
def f():
    import sys
    sys.path.append({str(tmp_path)!r})
    import package
    open("own", "w").write("1")
    return package.VALUE
"""
    with Sandbox(isolation=isolation) as box, box.worker(QUICK) as worker:
        worker.load(trial.order(source, "f"))
        assert worker.call("f", (), []) == 7


def kept(work, plan: Plan) -> int:
    """Return a keeper's exit code; it runs in a process of its own."""
    ended, alive = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive)
        keeper.exit_with(lambda: keeper.keep(work, Limits(60, 1 << 30), ended, plan, None))
    os.close(ended)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(alive)
    return code


def test_nothing_is_counted_before_a_workers_own_proc_is_there(monkeypatch):
    # until then /proc shows the keeper every process of the machine: more than a worker may have
    if not offered("namespaces"):
        pytest.skip("no sandbox of namespaces starts here")
    mount = mounts.mount

    def on_a_busy_machine(*arguments):
        time.sleep(10 * keeper.LOOK)
        mount(*arguments)

    monkeypatch.setattr(mounts, "mount", on_a_busy_machine)
    monkeypatch.setattr(keeper, "PROCESSES", 1)
    plan = Plan("namespaces", [], [])
    ended_by_itself = 1
    assert kept(lambda: time.sleep(5 * keeper.LOOK), plan) == ended_by_itself
    forks = "import os, time; [os.fork() for _ in range(2)]; time.sleep(60)"
    assert kept(lambda: exec(forks), plan) == keeper.TOO_MANY_PROCESSES


def test_what_the_kernel_would_keep_of_a_worker_cannot_be_made(any_box):
    # System V segments and keys live on after their process, and another's could be read
    source = """
import ctypes
def f():
    libc = ctypes.CDLL(None, use_errno=True)
    calls = {"shmget": (5, 4096, 0o1666), "semget": (5, 1, 0o1666), "msgget": (5, 0o1666)}
    results = [getattr(libc, name)(*given) for name, given in calls.items()]
    keys = {"x86_64": 250, "aarch64": 219}
    import os
    return results + [libc.syscall(keys[os.uname().machine], 1, None), ctypes.get_errno()]
"""
    with any_box.worker(QUICK) as worker:
        worker.load(trial.order(source, "f"))
        assert worker.call("f", (), []) == [-1, -1, -1, -1, 38]


def test_a_process_whose_name_is_no_text_is_counted():
    code = (
        "import ctypes, sys, time\n"
        "ctypes.CDLL(None).prctl(15, bytes([255, 254, 10]), 0, 0, 0)\n"
        "held = b'x' * (50 << 20)\nprint(1, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert usage.kilobytes(process.pid, "RssAnon") > 50 << 10
        process.kill()


def test_a_keeper_that_is_stopped_is_waited_for_no_longer_than_need_be(monkeypatch):
    monkeypatch.setattr(zygote, "STOPPED", 0.5)
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    process = subprocess.Popen([sys.executable, "-c", code])
    os.waitpid(process.pid, os.WUNTRACED)
    _, alive = os.pipe()
    assert zygote._end(process.pid, alive, 0) in (0, -signal.SIGKILL)


def test_where_the_sandboxs_process_is_gone_another_takes_its_place():
    with Sandbox() as box:
        box._process.kill()
        with pytest.raises(GraderFault, match="the sandbox's process"):
            box.worker(QUICK)
        with box.worker(QUICK) as worker:
            worker.load(trial.order("def f(x):\n    return x", "f"))
            assert worker.call("f", (3,), []) == 3
