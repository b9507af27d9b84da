"""Sends SIGKILL to every process it can name: all, its group, its parent, the first, each number."""

import os
import signal

from attacker import works

ROWS = (26,)
CONTROL = "a pid namespace each block: no process outside of it can be named"
ENDS = "any"


def analyse(tables, params):
    for pid in (1, *range(2, 400), os.getppid(), -1, 0):
        if pid != os.getpid():
            works(lambda p=pid: os.kill(p, signal.SIGKILL))
    return {"hit": 0.0}
