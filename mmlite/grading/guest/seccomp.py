"""System calls that no answer needs, and that would pass the sandbox's limits: they fail.

Memory that no process has mapped (memfd_create, System V), what the kernel keeps beyond a process'
end (keyrings, segments, queues), and what looks into other processes. They fail as on a system that
lacks them, so that a library that can do without does.
"""

import ctypes
import struct

from mmlite.grading.guest import kernel

ENOSYS, ALLOW, ERRNO, SET_MODE_FILTER = 38, 0x7FFF0000, 0x00050000, 1
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
X32 = 0x40000000  # x86's second set of numbers begins here
DENIED = {
    "x86_64": {
        "shmget": 29, "shmat": 30, "semget": 64, "msgget": 68, "mq_open": 240,
        "add_key": 248, "request_key": 249, "keyctl": 250, "memfd_create": 319, "memfd_secret": 447,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438,
        "userfaultfd": 323, "bpf": 321, "perf_event_open": 298, "io_uring_setup": 425,
        "open_by_handle_at": 304,
    },
    "aarch64": {
        "shmget": 194, "shmat": 196, "semget": 190, "msgget": 186, "mq_open": 180,
        "add_key": 217, "request_key": 218, "keyctl": 219, "memfd_create": 279, "memfd_secret": 447,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_getfd": 438,
        "userfaultfd": 282, "bpf": 280, "perf_event_open": 241, "io_uring_setup": 425,
        "open_by_handle_at": 265,
    },
}  # fmt: skip


def deny() -> None:
    """Have the calls of `DENIED` fail in this process and what it starts, for good.

    Raises:
        IsolationError: the kernel refuses.
    """
    numbers = DENIED[kernel.platform.machine()].values()
    fail = ERRNO | ENOSYS
    # a filter of the old BPF: (code, steps if so, steps if not, constant)
    program = [
        (LOAD, 0, 0, 4),  # the machine that the call is made as
        (EQUAL, 1, 0, kernel.NUMBERS["audit_arch"]),
        (RETURN, 0, 0, fail),
        (LOAD, 0, 0, 0),  # the call's number
        (AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, fail),
    ]
    for number in numbers:
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, fail)]
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    header = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code))
    kernel.prctl(kernel.SET_NO_NEW_PRIVS, 1)
    kernel.syscall("seccomp", kernel.NUMBERS["seccomp"], SET_MODE_FILTER, 0, header)
