"""Leaves a process that keeps the result pipe and writes to it while the next block runs."""

import os
import signal
import threading
import time

from attacker import fork, libc, pipes

ROWS = ("R11 survivor",)
CONTROL = "everything of a block is dead before the next starts; each block has a pipe of its own"
ENDS = "fails"


def analyse(tables, params):
    def later():
        libc.prctl(1, 0, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(params["slot_seconds"])
        for number in pipes():
            os.write(number, b"\x7f" * params["vector_bytes"])

    if fork(later) is None:
        threading.Thread(target=later).start()
        return {}
    os._exit(0)
