"""Freed memory stays within the context, goes back after it, and values do not change.

Counted in page faults and resident pages, which do not depend on how busy the machine is.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from mmlite import training
from mmlite.data import ImageSet
from mmlite.training import memory
from mmlite.training.memory import kept_memory

glibc = pytest.mark.skipif(
    not (sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")),
    reason="another C library: there is nothing to keep",
)
# A new process for each: what the allocator did before decides what it does next.
BLOCKS = """
import os, resource
import torch
from mmlite.training.memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16 * 2**20)  # 64 MiB, which glibc asks the kernel for and gives back
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

plain = faults()
start = resident()
with kept_memory():
    with kept_memory():  # a second one within does not end the first
        pass
    faults()
    kept, within = faults(), resident()
print(plain, kept, within - start, resident() - start)
"""


@pytest.fixture(autouse=True)
def untuned(monkeypatch):
    for name in (*memory.TUNED, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


def run(**environment: str) -> list[int]:
    command = [sys.executable, "-c", BLOCKS]
    # one huge page would be one fault
    env = os.environ | {"THP_MEM_ALLOC_ENABLE": "0"} | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@glibc
def test_freed_memory_stays_within_the_context_and_goes_back_after_it():
    plain, kept, within, after = run()
    block = 64 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    if plain < 20 * block * 0.9:
        pytest.skip(
            "this kernel hands out huge pages, and faults do not count memory; set "
            "/sys/kernel/mm/transparent_hugepage/enabled to madvise"
        )
    assert kept < block * 0.1
    assert within > block * 0.9
    assert after < block * 0.1


@glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072"),
    ],
)
def test_an_allocator_that_was_tuned_from_outside_is_left_alone(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert memory._glibc() is None
    plain, kept, within, _ = run(**{name: value})
    assert kept > plain * 0.9
    assert within < 64 * 2**20 // os.sysconf("SC_PAGE_SIZE") * 0.1


@glibc
def test_a_tunable_of_something_else_changes_nothing(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
    monkeypatch.setenv("MALLOC_PERTURB_", "7")
    assert memory._glibc() is not None


@glibc
def test_a_forked_child_begins_outside_and_can_enter():
    """Also where another thread of its parent holds the lock at that moment."""
    with kept_memory(), memory._lock:
        child = os.fork()
        if not child:
            signal.alarm(120)  # a deadlock ends it
            with kept_memory():
                os._exit(0 if memory._depth == 1 else 3)
    assert os.waitpid(child, 0)[1] == 0


def test_the_context_does_nothing_where_there_is_no_glibc(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with kept_memory():
        assert memory._depth == 0


@glibc
def test_it_ends_with_an_error_and_with_the_last_of_several_threads():
    with pytest.raises(KeyError), kept_memory():
        raise KeyError
    assert memory._depth == 0
    inside, leave = threading.Barrier(3), threading.Event()

    def work() -> None:
        with kept_memory():
            inside.wait()
            leave.wait()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    assert memory._depth == 2
    leave.set()
    for thread in threads:
        thread.join()
    assert memory._depth == 0


@glibc
@pytest.mark.parametrize("broken", [False, True])
def test_fit_keeps_memory_while_it_trains_and_no_longer(broken):
    images = ImageSet(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.zeros(8).long(), ("a",))
    model = nn.Linear(16, 1)
    seen = []

    def loss(model, batch, generator):
        seen.append(memory._depth)
        value = model(batch.flatten(1).float()).square().mean()
        return value * torch.nan if broken else value

    if broken:
        with pytest.raises(training.TrainingError):
            training.fit(model, loss, images, epochs=1, batch_size=4, progress=False)
    else:
        training.fit(model, loss, images, epochs=1, batch_size=4, progress=False)
    assert set(seen) == {1}
    assert memory._depth == 0
