"""Shares memory by name: /dev/shm, System V segments, semaphores and queues, POSIX queues."""

import ctypes

from attacker import call, hits, let_through, works

ROWS = (24, 34)
PEER_FAULT = "T11"
CONTROL = "ipc namespace of its own; no /dev/shm and no /dev/mqueue; seccomp: no such call"


def analyse(tables, params):
    name = ctypes.c_char_p(b"banyan")
    return hits(
        works(lambda: open("/dev/shm/message", "wb")),
        works(lambda: open("/dev/mqueue/message", "wb")),
        call(29, 0, 4096, 0o1600) >= 0,
        call(64, 0, 1, 0o1600) >= 0,
        call(68, 0, 0o1600) >= 0,
        let_through(240, name, 0o102, 0o600, 0),
    )
