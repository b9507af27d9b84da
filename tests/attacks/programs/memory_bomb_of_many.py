"""Eats memory in as many processes or threads as it gets, shared between them, where a limit of each does not count it twice."""

import mmap
import threading
import time

from attacker import fork, hits

ROWS = (7,)
CONTROL = "second seccomp filter: no process; RLIMIT_AS and RLIMIT_DATA; memory of the container; the kernel takes the block's processes before PID 1 (oom_score_adj); all gone before the next block"
ENDS = "any"
CPU = 0.6


def analyse(tables, params):
    def eat():
        held = []
        while True:
            try:
                piece = mmap.mmap(-1, 8 << 20)
                for at in range(0, 8 << 20, 4096):
                    piece[at] = 1
                held.append(piece)
            except (OSError, MemoryError, ValueError):
                time.sleep(0.001)

    for _ in range(params["threads"]):
        if fork(eat) is None:
            try:
                threading.Thread(target=eat, daemon=True).start()
            except RuntimeError:
                break
    time.sleep(60)
    return hits()
