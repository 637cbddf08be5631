"""Hostile and broken submissions to lesson 01, each with what is to become of it.

Each has a hostile or broken answer to exercise 01.1 and right ones to 01.5 and 01.6, which must
not suffer. Every bomb is bounded by itself, so that a limit that fails fails a test and not the
machine.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LIMIT = 5  # seconds an exercise may take in the tests; waiting for a processor costs none
MEMORY = 1024  # MB

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

# Loops, bombs, exits -------------------------------------------------------------------------

BOUNDED_LOOP = f"""
import time
while time.process_time() < {3 * LIMIT}:
    pass
"""
FORK_BOMB = """
import os, time
for _ in range(300):
    try:
        if os.fork() == 0:
            time.sleep(8)
            os._exit(0)
    except OSError:
        pass
time.sleep(1)
"""
THREAD_BOMB = """
import threading, time
for _ in range(300):
    threading.Thread(target=time.sleep, args=(8,), daemon=True).start()
"""
FORKED_MEMORY = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = b"x" * (400 << 20)
        time.sleep(8)
        os._exit(0)
time.sleep(6)
"""
SHARED_MEMORY = """
import mmap
held = mmap.mmap(-1, 3 << 30)
for place in range(0, 3 << 30, 4096):
    held[place] = 1
"""
DISK = """
import os, time
for number in range(300):
    with open(f"{number}", "wb") as file:
        file.write(bytes(1 << 20))
time.sleep(1)
"""
LARGE_FILE = """
with open("large", "wb") as file:
    for _ in range(100):
        file.write(bytes(1 << 20))
        file.flush()
"""
SHARED_FOLDER = """
import os
for number in range(300):
    with open(f"/dev/shm/{number}", "wb") as file:
        file.write(bytes(1 << 20))
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(0.1)
    os._exit(0)
"""
THREADS = f"""
import threading, time
def spin():
    end = time.monotonic() + {30 * LIMIT}
    while time.monotonic() < end:
        pass
for _ in range(3):
    threading.Thread(target=spin).start()
"""
FLOOD = """
import os, sys
for _ in range(200):
    print("x" * (1 << 16))
    os.write(1, b"y" * (1 << 16))
    os.write(2, b"z" * (1 << 16))
"""

# Attacks on the grader -----------------------------------------------------------------------

SIGNALS = """
import os, signal
for target in (os.getppid(), -1, 1):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(target, number)
        except OSError:
            pass
"""
READ_MASTER = """
import json
cells = json.load(open("ROOT/solutions/01_contrastive.ipynb"))["cells"]
answer = next(c for c in cells if "def my_cosine_similarity" in "".join(c["source"]))
scope = {"torch": torch}
exec("".join(answer["source"]), scope)
"""
READ_LIBRARY = """
import sys
for name in [name for name in sys.modules if name.startswith("mmlite")]:
    del sys.modules[name]
sys.meta_path[:] = [finder for finder in sys.meta_path if "Library" not in repr(finder)]
sys.path.insert(0, "ROOT")
from mmlite.exercises.lesson01 import cosine_similarity
"""
SEARCH = """
import glob
names = "ROOT".split("/")
above = ["/".join(names[:n]) for n in range(1, len(names) + 1)] + ["/root", "/home", "/tmp", "."]
found = [f for p in above for f in glob.glob(p + "/*/0*_contrastive*")]
"""
WRITE_GRADES = """
import os
for name in ("OUT/grades.json", "grades.json", "OUT/grades.csv", "TOUCHED", "/tmp/TOUCH"):
    try:
        with open(name, "w") as file:
            file.write('{"students": {"forger": {"total": 15}}}')
    except OSError:
        pass
"""
LINK_OUT = """
import os
os.symlink("TOUCHED", "link")
open("link", "w").write("through a link")
"""
FRAME = """
import json, os, struct
def frame(value):
    tree = json.dumps(["dict", [[k, v] for k, v in value.items()]]).encode()
    return struct.pack("<4sIQ", b"mml1", len(tree), 0) + tree
"""
EARLY = (
    FRAME
    + """
class Early:
    for fd in range(3, 128):
        for word in ({"nonce": 0, "status": "passed", "result": 1.0}, {"status": "passed"}):
            try:
                os.write(fd, frame(word))
            except OSError:
                pass
"""
)
FORGED_FRAME = """
import os
for fd in range(3, 128):
    try:
        os.write(fd, frame({"nonce": 1, "status": "passed", "result": 1.0, "points": 99}))
    except OSError:
        pass
"""
ENDLESS_FRAME = """
import os, struct
for fd in range(3, 128):
    try:
        os.write(fd, struct.pack("<4sIQ", b"mml1", 100, 1 << 60))
    except OSError:
        pass
"""
DRIP = f"""
import os, struct, time
head = struct.pack("<4sIQ", b"mml1", 1000, 0) + b" " * 1000
end = time.monotonic() + {30 * LIMIT}
while time.monotonic() < end:
    for fd in range(3, 128):
        try:
            os.write(fd, head[:1])
        except OSError:
            pass
    head = head[1:]
    time.sleep(0.05)
"""
HOLD_FRAMES = """
import gc, sys, types
frame = sys._getframe()
seen = []
while frame is not None:
    seen += [frame.f_locals, frame.f_globals]
    frame = frame.f_back
functions = [o for o in gc.get_objects() if isinstance(o, types.FunctionType)]
found = [f for f in functions if f.__name__ in ("cosine_similarity", "judge", "grade")]
found = [f for f in found if "torch" not in f.__module__]
"""
PATCHED = """
torch.allclose = torch.equal = lambda *given, **named: True
torch.Tensor.__eq__ = lambda *given: True
"""
LIAR = """
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if "close" in str(function) or "eq" in str(function) or "sub" in str(function):
            return torch.tensor(True)
        return super().__torch_function__(function, types, args, kwargs or {})
"""
NETWORK = """
import socket
heard = socket.create_connection(("127.0.0.1", PORT), timeout=2)
heard.sendall(b"GET /solutions HTTP/1.0\\r\\n\\r\\n")
"""
PICKLE = """
import os
class Deep:
    def __reduce__(self):
        return os.system, ("touch TOUCHED",)
"""
PICKLED = """
import os, pickle
class Deep:
    def __reduce__(self):
        return os.system, ("touch TOUCHED",)
nested = Deep()
for _ in range(10):
    nested = [nested]
"""
ESCALATE = """
import ctypes, os, resource
libc = ctypes.CDLL(None)
for which in (resource.RLIMIT_NPROC, resource.RLIMIT_DATA, resource.RLIMIT_CPU):
    try:
        resource.setrlimit(which, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        pass
libc.unshare(0x10020000)
libc.umount2(b"/tmp", 2)
libc.umount2(b"/proc", 2)
libc.mount(b"none", b"/", None, 32, None)
for user in (0, 1000):
    try:
        os.setuid(user)
    except OSError:
        pass
open("ROOT/solutions/01_contrastive.ipynb").read()
"""

NESTED = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10020000) != 0:
    raise OSError(ctypes.get_errno(), "no namespace of my own")
"""
HIDDEN_MEMORY = """
import os, time
held = [os.memfd_create(str(n)) for n in range(100)]
for fd in held:
    os.write(fd, bytes(15 << 20))
time.sleep(1)
"""
DETACHED_MEMORY = """
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(8):
    segment = libc.shmget(0, 400 << 20, 0o1600)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "no shared segment")
    place = libc.shmat(segment, None, 0)
    ctypes.memset(place, 1, 400 << 20)
    libc.shmdt(ctypes.c_void_p(place))
"""
INIT_MEMORY = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, 1, None, None) != 0:
    raise OSError(ctypes.get_errno(), "process 1 is out of reach")
open("/proc/1/mem", "r+b")
"""

LITTER = """
import os
open("/tmp/left-by-a-worker", "w").close()
os.symlink("/etc", "/tmp/link-by-a-worker")
os.makedirs("/dev/shm/left-by-a-worker/below")
os.chmod("/dev/shm/left-by-a-worker", 0)
"""
PEER_LIBRARY = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "_Library"]
import lightly.loss
"""

# how Landlock and the filter of system calls say no
DENIED, LACKING = "PermissionError", r"\[Errno 38\]"
HOSTILE = [
    doing("endless-loop", BOUNDED_LOOP, f"TimeLimit: no answer within {LIMIT} seconds"),
    cells(
        "endless-loop-while-loading", SETUP,
        "class Spin:\n" + "".join(f"    {line}\n" for line in BOUNDED_LOOP.strip().split("\n")),
        f"def my_cosine_similarity(a, b, c=Spin):\n    return {RIGHT_VALUE}", PUSH, COLLAPSED,
        status="wrong", says="could not be loaded: TimeLimit",
    ),
    doing("sleeper", f"import time\ntime.sleep({30 * LIMIT})", "TimeLimit"),
    doing("fork-bomb", FORK_BOMB, f"ProcessLimit|{EXPECTED}"),
    doing("thread-bomb", THREAD_BOMB, "RuntimeError: can't start new thread|ProcessLimit"),
    doing("memory-bomb", "held = bytearray(3 << 30)", "MemoryError"),
    doing("tensor-bomb", "held = torch.ones(3 << 28)", "alloc|MemoryError"),
    doing("forked-memory-bomb", FORKED_MEMORY, "MemoryLimit: more than 1024 MB"),
    doing("shared-memory-bomb", SHARED_MEMORY, "MemoryLimit|Crash"),
    doing("disk-fill", DISK, "OSError|DiskLimit"),
    doing("large-file", LARGE_FILE, "OSError|Crash: signal 25"),
    doing("shared-folder-fill", SHARED_FOLDER, f"OSError|{DENIED}"),
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
    doing("daemon", DAEMON, EXPECTED),
    doing("threads-left", THREADS, f"{EXPECTED}|TimeLimit"),
    doing("flood", FLOOD, EXPECTED),
    doing("recursion", "return my_cosine_similarity(a, b)", "RecursionError"),
    doing(
        "unlimited-recursion",
        "import sys\nsys.setrecursionlimit(10**9)\nreturn my_cosine_similarity(a, b)",
        "Crash|RecursionError|MemoryError|MemoryLimit|TimeLimit",
    ),
    doing("signals", SIGNALS, f"{EXPECTED}|Crash: signal|Exit"),
    doing("read-master", READ_MASTER, "FileNotFoundError|PermissionError",
          "return scope['my_cosine_similarity'](a, b)"),
    doing("read-library", READ_LIBRARY, f"ModuleNotFoundError|{DENIED}",
          "return cosine_similarity(a, b)"),
    doing("peer-library", "import lightly", "lightly holds answers"),
    doing("peer-library-found-otherwise", PEER_LIBRARY, f"No module named 'lightly|{DENIED}"),
    doing("search", SEARCH, "IndexError: list index out of range",
          "return exec(open(found[0]).read())"),
    doing("write-grades", WRITE_GRADES, EXPECTED),
    doing("litter", LITTER, f"{EXPECTED}|{DENIED}"),
    doing("link-out", LINK_OUT, "FileNotFoundError|Read-only|PermissionError|OSError"),
    doing("early-result", "pass", "ForeignMessage|could not be loaded",
          before=EARLY + "\nF.early = Early", ending="return Early"),
    doing("forged-frame", FORGED_FRAME, "ForeignMessage: it answered before", before=FRAME),
    doing("endless-frame", ENDLESS_FRAME, "ForeignMessage: the message is too large"),
    doing("slow-drip", DRIP, "TimeLimit|ForeignMessage"),
    doing("looks-behind", HOLD_FRAMES, "IndexError", "return found[0](a, b)"),
    doing("patched", PATCHED, EXPECTED),
    doing("liar", LIAR, EXPECTED, "return torch.zeros(len(a), len(b)).as_subclass(Liar)"),
    doing("network", NETWORK, f"OSError|ConnectionRefusedError|{DENIED}"),
    doing("pickle", PICKLE, "got a Deep", "return Deep()"),
    doing("pickled", PICKLED, "got a bytes", "return pickle.dumps(nested)"),
    doing("nested-namespace", NESTED, f"no namespace of my own|{EXPECTED}"),
    doing("hidden-memory", HIDDEN_MEMORY, f"MemoryLimit|{LACKING}"),
    doing("detached-memory", DETACHED_MEMORY, f"MemoryLimit|{LACKING}"),
    doing("first-process", INIT_MEMORY, "process 1 is out of reach"),
    doing("escalate", ESCALATE, "FileNotFoundError|PermissionError"),
]  # fmt: skip

# Answers that only look right ----------------------------------------------------------------

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

# Broken files and notebooks ------------------------------------------------------------------


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

# Honest work ---------------------------------------------------------------------------------

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
