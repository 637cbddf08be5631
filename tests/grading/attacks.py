"""What a hostile submission does: loops, bombs, exits, and attacks on the grader."""

LIMIT = 5  # seconds an exercise may take in the tests; waiting for a processor costs none
MEMORY = 1024  # MB
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
