"""Starts processes, some of them to be zombies, and threads until none can be started."""

import os
import threading
import time

from attacker import hits

ROWS = (5, 29)
CONTROL = "second seccomp filter: no fork; RLIMIT_NPROC of the block and pids of the container bound its threads; the block's pid namespace ends with it"


def threads():
    """How many threads it can have at once."""
    held = []
    try:
        while len(held) < 200:
            thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
            thread.start()
            held.append(thread)
    except RuntimeError:
        pass
    return len(held)


def analyse(tables, params):
    started = 0
    try:
        while started < 4 * params["threads"]:
            if os.fork() == 0:
                if started % 2:
                    os._exit(0)
                time.sleep(60)
            started += 1
    except OSError:
        pass
    return hits(started >= 1, threads() > params["threads"])
