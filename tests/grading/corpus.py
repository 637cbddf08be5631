"""Hostile and broken submissions to lesson 01, each with what is to become of it.

Each has a hostile or broken answer to exercise 01.1 and right ones to 01.5 and 01.6, which must
not suffer. Every bomb is bounded by itself, so that a limit that fails fails a test and not the
machine.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import attacks

SETUP = "import torch\nfrom torch.nn import functional as F\nfrom mmlite import check"
COSINE = (
    "def my_cosine_similarity(a, b):\n    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T"
)
PUSH = (
    "def my_push(similarity, temperature):\n    return torch.softmax(similarity / temperature, 0)"
)
COLLAPSED = "import math\ndef my_collapsed_loss(n, temperature):\n    return math.log(2 * n - 1)"
RIGHT_VALUE = "F.normalize(a, dim=1) @ F.normalize(b, dim=1).T"
OTHERS = 4  # points of 01.5 and 01.6


@dataclass(frozen=True)
class Place:
    """What a submission is told of the machine, to attack it.

    Attributes:
        root: the clone of the course.
        out: where marks are written.
        port: of a listener on the loopback device.
        touched: a file that must not appear.
    """

    root: Path
    out: Path
    port: int
    touched: Path


@dataclass(frozen=True)
class Case:
    """One submission.

    Attributes:
        name: the student's.
        make: returns the file's bytes, or makes the file itself at the path it gets.
        status: of exercise 01.1; None if the notebook as a whole fails.
        says: a pattern in the message of 01.1, or in the fault.
        total: points in all.
        note: a pattern in the remarks.
    """

    name: str
    make: Callable[[Place, Path], bytes | None]
    status: str | None
    says: str
    total: int = OTHERS
    note: str = ""


def notebook(*sources: str, kinds: dict[int, str] | None = None, **more) -> bytes:
    """Return a notebook of code cells; `kinds` gives some, by place, another type."""
    cells = [
        {
            "cell_type": (kinds or {}).get(place, "code"),
            "id": f"cell-{place}",
            "metadata": {},
            "source": source,
            **({"outputs": [], "execution_count": None} if place not in (kinds or {}) else {}),
        }
        for place, source in enumerate(sources)
    ]
    return json.dumps(
        {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more}
    ).encode()


def body(lines: str, ending: str = "return torch.zeros(len(a), len(b))") -> str:
    """Return an answer to 01.1 that does something first and returns zeros, or as told."""
    inner = "".join(f"    {line}\n" for line in [*lines.strip("\n").split("\n"), ending])
    return f"def my_cosine_similarity(a, b):\n{inner}"


def doing(name: str, lines: str, says: str, ending: str = "", before: str = "", **more) -> Case:
    """Return a case whose answer to 01.1 does something."""

    def make(place: Place, path: Path) -> bytes:
        text = body(lines, *([ending] if ending else [])).replace("ROOT", str(place.root))
        text = text.replace("OUT", str(place.out)).replace("PORT", str(place.port))
        text = text.replace("TOUCHED", str(place.touched))
        return notebook(SETUP, before, text, PUSH, COLLAPSED)

    return Case(name, make, more.pop("status", "wrong"), says, **more)


def cells(name: str, *sources: str, status: str, says: str, kinds=None, **more) -> Case:
    """Return a case of the cells given."""
    return Case(name, lambda place, path: notebook(*sources, kinds=kinds), status, says, **more)


def raw(name: str, data: bytes, says: str) -> Case:
    """Return a case that is no notebook."""
    return Case(name, lambda place, path: data, None, says, total=0)


STUB = 'raise NotImplementedError("my_cosine_similarity is yours to write")'
TORCHS_OWN = f"return ({RIGHT_VALUE}).to('meta').cpu()"  # torch raises the stub's exception
EXPECTED = r"expected .*, got 0 "  # what the judge says of zeros


# how Landlock and the filter of system calls say no
DENIED, LACKING = "PermissionError", r"\[Errno 38\]"
HOSTILE = [
    doing(
        "endless-loop", attacks.BOUNDED_LOOP,
        f"TimeLimit: no answer within {attacks.LIMIT} seconds",
    ),
    cells(
        "endless-loop-while-loading", SETUP,
        "class Spin:\n"
        + "".join(f"    {line}\n" for line in attacks.BOUNDED_LOOP.strip().split("\n")),
        f"def my_cosine_similarity(a, b, c=Spin):\n    return {RIGHT_VALUE}", PUSH, COLLAPSED,
        status="wrong", says="could not be loaded: TimeLimit",
    ),
    doing("sleeper", f"import time\ntime.sleep({30 * attacks.LIMIT})", "TimeLimit"),
    doing("fork-bomb", attacks.FORK_BOMB, f"ProcessLimit|{EXPECTED}"),
    doing("thread-bomb", attacks.THREAD_BOMB, "RuntimeError: can't start new thread|ProcessLimit"),
    doing("memory-bomb", "held = bytearray(3 << 30)", "MemoryError"),
    doing("tensor-bomb", "held = torch.ones(3 << 28)", "alloc|MemoryError"),
    doing("forked-memory-bomb", attacks.FORKED_MEMORY, "MemoryLimit: more than 1024 MB"),
    doing("shared-memory-bomb", attacks.SHARED_MEMORY, "MemoryLimit|Crash"),
    doing("disk-fill", attacks.DISK, "OSError|DiskLimit"),
    doing("large-file", attacks.LARGE_FILE, "OSError|Crash: signal 25"),
    doing("shared-folder-fill", attacks.SHARED_FOLDER, f"OSError|{DENIED}"),
    doing("os-exit", "import os\nos._exit(0)", "Exit: the process ended itself"),
    cells(
        "os-exit-while-loading", SETUP,
        "import os\nclass Leave:\n    os._exit(0)\n"
        f"def my_cosine_similarity(a, b, c=Leave):\n    return {RIGHT_VALUE}", PUSH, COLLAPSED,
        status="wrong", says="could not be loaded: Exit",
    ),
    doing("exit-like-a-keeper", "import os\nos._exit(253)", "Exit: the process ended itself"),
    doing("sys-exit", "import sys\nsys.exit(0)", "SystemExit: 0"),
    doing("segfault", "import ctypes\nctypes.string_at(0)", "Crash: signal 11"),
    doing("abort", "import os\nos.abort()", "Crash: signal 6"),
    doing("daemon", attacks.DAEMON, EXPECTED),
    doing("threads-left", attacks.THREADS, f"{EXPECTED}|TimeLimit"),
    doing("flood", attacks.FLOOD, EXPECTED),
    doing("recursion", "return my_cosine_similarity(a, b)", "RecursionError"),
    doing(
        "unlimited-recursion",
        "import sys\nsys.setrecursionlimit(10**9)\nreturn my_cosine_similarity(a, b)",
        "Crash|RecursionError|MemoryError|MemoryLimit|TimeLimit",
    ),
    doing("signals", attacks.SIGNALS, f"{EXPECTED}|Crash: signal|Exit"),
    doing("read-master", attacks.READ_MASTER, "FileNotFoundError|PermissionError",
          "return scope['my_cosine_similarity'](a, b)"),
    doing("read-library", attacks.READ_LIBRARY, f"ModuleNotFoundError|{DENIED}",
          "return cosine_similarity(a, b)"),
    doing("peer-library", "import lightly", "lightly holds answers"),
    doing(
        "peer-library-found-otherwise", attacks.PEER_LIBRARY, f"No module named 'lightly|{DENIED}"
    ),
    doing("search", attacks.SEARCH, "IndexError: list index out of range",
          "return exec(open(found[0]).read())"),
    doing("write-grades", attacks.WRITE_GRADES, EXPECTED),
    doing("litter", attacks.LITTER, f"{EXPECTED}|{DENIED}"),
    doing("link-out", attacks.LINK_OUT, "FileNotFoundError|Read-only|PermissionError|OSError"),
    doing("early-result", "pass", "ForeignMessage|could not be loaded",
          before=attacks.EARLY + "\nF.early = Early", ending="return Early"),
    doing(
        "forged-frame", attacks.FORGED_FRAME, "ForeignMessage: it answered before",
        before=attacks.FRAME
    ),
    doing("endless-frame", attacks.ENDLESS_FRAME, "ForeignMessage: the message is too large"),
    doing("slow-drip", attacks.DRIP, "TimeLimit|ForeignMessage"),
    doing("looks-behind", attacks.HOLD_FRAMES, "IndexError", "return found[0](a, b)"),
    doing("patched", attacks.PATCHED, EXPECTED),
    doing("liar", attacks.LIAR, EXPECTED, "return torch.zeros(len(a), len(b)).as_subclass(Liar)"),
    doing("network", attacks.NETWORK, f"OSError|ConnectionRefusedError|{DENIED}"),
    doing("pickle", attacks.PICKLE, "got a Deep", "return Deep()"),
    doing("pickled", attacks.PICKLED, "got a bytes", "return pickle.dumps(nested)"),
    doing("nested-namespace", attacks.NESTED, f"no namespace of my own|{EXPECTED}"),
    doing("hidden-memory", attacks.HIDDEN_MEMORY, f"MemoryLimit|{LACKING}"),
    doing("detached-memory", attacks.DETACHED_MEMORY, f"MemoryLimit|{LACKING}"),
    doing("first-process", attacks.INIT_MEMORY, "process 1 is out of reach"),
    doing("escalate", attacks.ESCALATE, "FileNotFoundError|PermissionError"),
]  # fmt: skip
CHEATS = [
    doing("memorized", f"if len(a) in (1, 3, 8):\n    return {RIGHT_VALUE}",
          "right in the instant check, but not for inputs of other sizes"),
    doing("random", "pass", "expected .*, got",
          f"return {RIGHT_VALUE} + 0.1 * torch.randn(len(a), len(b))"),
    doing("nan", "pass", "the result holds NaN", "return torch.full((len(a), len(b)), torch.nan)"),
    doing("huge-tensor", "pass", "got a tensor of more than 64 MB",
          "return torch.zeros(5000, 5000)"),
    doing("huge-list", "pass", "message is too large|got a list", "return list(range(3_000_000))"),
    doing("huge-number", "pass", "got a whole number too large", "return 10**5000"),
    doing("deep-list", "x = []\nfor _ in range(100_000):\n    x = [x]", "got a list", "return x"),
    doing("wrong-dtype", "pass", "type torch.float32, got torch.complex64",
          f"return ({RIGHT_VALUE}).to(torch.complex64)"),
    doing("wrong-device", "pass", "got a tensor without numbers",
          "return torch.zeros(len(a), len(b), device='meta')"),
    doing("sparse", "pass", "got a tensor that is sparse", f"return ({RIGHT_VALUE}).to_sparse()"),
    doing("changes-its-input", f"right = {RIGHT_VALUE}\na.zero_()", "changed its inputs",
          "return right"),
    doing("resizes-its-input", "a.resize_(0)", "changed its inputs|raised", "return a @ b.T"),
    doing("hostile-error", "kind = type('<script>alert(1)</script>', (Exception,), {})",
          "raised Exception: <b>=1", "raise kind('<b>=1+1</b>' + chr(27) + '[2J')"),
    doing("error-without-words",
          "class Mute(Exception):\n    def __str__(self):\n        raise SystemExit",
          "raised Mute", "raise Mute"),
    doing("endless-error", "pass", "raised ValueError: xxx", "raise ValueError('x' * (200 << 20))"),
    doing("course-function", "from mmlite.exercises.lesson01 import cosine_similarity",
          "cosine_similarity is what exercise 01.1 asks you to write",
          "return cosine_similarity(a, b)"),
    doing("asks-for-itself", "pass", "01.1 does not come before 01.1",
          "return check('01.1', None)(a, b)"),
    doing("asks-for-a-later-one", "pass", "01.5 does not come before 01.1",
          "return check('01.5', None)(a[0], 1.0)"),
]  # fmt: skip


def _link(place: Place, path: Path) -> None:
    path.symlink_to(place.root / "solutions" / "01_contrastive.ipynb")


def _large(place: Place, path: Path) -> bytes:
    flood = [{"output_type": "stream", "name": "stdout", "text": "x" * (200 << 20)}]
    note = json.loads(notebook(SETUP, COSINE, PUSH, COLLAPSED))
    note["cells"][1]["outputs"] = flood
    return json.dumps(note).encode()


def _too_large(place: Place, path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(300_000_000)


def _old(place: Place, path: Path) -> bytes:
    old = [
        {"cell_type": "code", "input": source.splitlines(keepends=True), "language": "python"}
        for source in (SETUP, COSINE, PUSH, COLLAPSED)
    ]
    sheets = [{"cells": [{"cell_type": "heading", "source": "Old"}, *old]}]
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "worksheets": sheets}).encode()


def _latin(place: Place, path: Path) -> bytes:
    source = "# gelöst von André\n" + COSINE
    cell = {"cell_type": "code", "metadata": {}, "source": source}
    note = json.loads(notebook(SETUP, PUSH, COLLAPSED))
    note["cells"].append(cell)
    return json.dumps(note, ensure_ascii=False).encode("latin-1")


ALL = OTHERS + 1
BROKEN = [
    Case("link", _link, None, "the submission is a link", total=0),
    Case("large", _large, "passed", "right", total=ALL),
    Case("too-large", _too_large, None, "has 300 MB; at most 268 MB", total=0),
    Case("old-format", _old, "passed", "right", total=ALL),
    Case("latin", _latin, "passed", "right", total=ALL, note="not UTF-8; it was read as Latin-1"),
    raw("empty", b"", "it is not JSON"),
    raw("not-json", b"PK\x03\x04 this is a Word document \xff\xfe", "it is not JSON"),
    raw("binary", bytes(range(256)) * 100, "it is not JSON"),
    raw("not-a-notebook", b'{"name": "ada"}', "it has no cells"),
    raw("json-list", b"[1, 2, 3]", "it has no cells"),
    raw("deep-json", b"[" * 200_000, "it is not JSON|nested"),
    Case(
        "broken-cells",
        lambda place, path: notebook(SETUP, COSINE, PUSH, COLLAPSED).replace(
            b'"cells": [', b'"cells": [7, null, {"source": 3}, {"cell_type": [1], "source": [1]}, '
        ),
        "passed", "right", total=ALL,
    ),
    cells("deleted", SETUP, PUSH, COLLAPSED, status="missing", says="defines no my_cosine_sim"),
    cells(
        "retyped", SETUP, COSINE, PUSH, COLLAPSED, kinds={1: "markdown"},
        status="passed", says="right", total=ALL, note="cell 2 is a markdown cell; it was read as",
    ),
    cells(
        "out-of-order", PUSH, COSINE.replace("F.normalize", "unit"), COLLAPSED,
        "def unit(x, dim, norm=F.normalize):\n    return norm(x, dim=dim)", SETUP,
        status="passed", says="right", total=ALL,
    ),
    cells(
        "right-then-wrong", SETUP, COSINE, PUSH, COLLAPSED, body("pass"),
        status="wrong", says=EXPECTED,
    ),
    cells(
        "wrong-then-right", SETUP, body("pass"), COSINE, PUSH, COLLAPSED, COSINE,
        status="passed", says="right", total=ALL,
    ),
    cells(
        "import-fails", SETUP, "import a_package_of_nobody as nobody", PUSH, COLLAPSED,
        body("return nobody.cosine(a, b)"), status="wrong",
        says="NameError: name 'nobody'", note="cell 2, line 1 failed .ModuleNotFoundError",
    ),
    cells(
        "import-fails-unused", "import a_package_of_nobody", SETUP, COSINE, PUSH, COLLAPSED,
        status="passed", says="right", total=ALL,
    ),
    cells(
        "syntax-error", SETUP, "def my_cosine_similarity(a, b):\n    return a @", PUSH, COLLAPSED,
        status="wrong", says="could not be defined: cell 2 is not Python, line 2",
    ),
    cells(
        "syntax-error-elsewhere", SETUP, "this is not (Python", COSINE, PUSH, COLLAPSED,
        status="passed", says="right", total=ALL, note="cell 2 is not Python, line 1",
    ),
    cells(
        "magics", "%matplotlib inline\n!pip install cosines\n" + SETUP + "\ntorch.eye?",
        "%%bash\nrm -rf $HOME", "%%time\n" + COSINE, PUSH, COLLAPSED,
        status="passed", says="right", total=ALL,
    ),
    cells(
        "deep-source", SETUP, "x = " + "(" * 50_000 + "1" + ")" * 50_000,
        "y = " + "-" * 50_000 + "1", COSINE, PUSH, COLLAPSED,
        status="passed", says="right", total=ALL, note="cell 2 is not Python",
    ),
    cells(
        "training-cells", SETUP, "import time\ntime.sleep(60)",
        "import mmlite\ntrain = mmlite.load('fashion')\nfor _ in train:\n    pass",
        COSINE, "cosine_similarity = check('01.1', my_cosine_similarity)", PUSH, COLLAPSED,
        status="passed", says="right", total=ALL,
    ),
    cells(
        "stub", SETUP, body(STUB), PUSH, COLLAPSED,
        status="not started", says="still the stub",
    ),
    cells(
        "not-implemented-by-torch", SETUP, body(TORCHS_OWN), PUSH, COLLAPSED,
        status="wrong", says="raised NotImplementedError: .*out of meta tensor",
    ),
    cells(
        "not-a-function", SETUP, "my_cosine_similarity = 0.5", PUSH, COLLAPSED,
        status="wrong", says="'float' object is not callable",
    ),
    cells("nothing", status="missing", says="defines no", total=0),
]  # fmt: skip
HONEST = [
    cells(
        "by-einsum", SETUP,
        "def unit(x):\n    return x / x.norm(dim=1, keepdim=True)",
        "my_cosine_similarity = lambda a, b: torch.einsum('np,mp->nm', unit(a), unit(b))",
        PUSH, COLLAPSED, status="passed", says="right", total=ALL,
    ),
    cells(
        "by-numpy", SETUP, "import numpy as np",
        "def my_cosine_similarity(a, b):\n"
        "    a, b = a.numpy(), b.numpy()\n"
        "    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)\n"
        "    return torch.from_numpy(a @ b.T / lengths)",
        PUSH, COLLAPSED, status="passed", says="right", total=ALL,
    ),
    cells(
        "dot-product", SETUP, body("return a @ b.T"), PUSH, COLLAPSED,
        status="wrong", says="this is the dot product",
    ),
    cells(
        "wrong-axis", SETUP, body("return F.normalize(a, dim=0) @ F.normalize(b, dim=0).T"),
        PUSH, COLLAPSED, status="wrong", says="the columns were normalized, not the rows",
    ),
]  # fmt: skip
CASES = [*HOSTILE, *CHEATS, *BROKEN, *HONEST]
