"""Attaches to other processes, reads and writes their memory, and takes over their descriptors."""

import ctypes
import os

from attacker import call, hits, let_through, reads, works

ROWS = (22,)
CONTROL = "a pid namespace each block; seccomp: no ptrace, process_vm, pidfd or kcmp; no /proc"


def analyse(tables, params):
    buffer = ctypes.create_string_buffer(64)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)
    others = [pid for pid in {os.getppid(), 1, 2, 3} if pid not in (0, os.getpid())]
    return hits(
        any(call(101, 16, pid, 0, 0) >= 0 or call(101, 0x4206, pid, 0, 0) >= 0 for pid in others),
        let_through(310, others[0] if others else 1, vector, 1, vector, 1, 0),
        let_through(311, others[0] if others else 1, vector, 1, vector, 1, 0),
        any(let_through(434, pid, 0) for pid in others),
        let_through(438, -1, 0, 0),
        let_through(312, 1, 1, 0, 0, 0),
        params["tier"] == "zygote" and (reads("/proc/1/maps") or works(lambda: open("/proc/1/mem", "r+b"))),
    )
