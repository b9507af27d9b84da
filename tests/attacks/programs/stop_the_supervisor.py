"""Sends SIGSTOP, SIGTERM and SIGALRM to its parent and to the first process, which would hold up all later blocks."""

import os
import signal

from attacker import hits, works

ROWS = (26,)
CONTROL = "a pid namespace each block: no process outside of it can be named"


def analyse(tables, params):
    outside = [pid for pid in (os.getppid(), *range(2, 100)) if pid not in (0, os.getpid())]
    sent = [
        works(lambda p=pid, n=number: os.kill(p, n))
        for pid in outside
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGSTOP)
    ]
    return hits(params["tier"] == "zygote" and any(sent))
