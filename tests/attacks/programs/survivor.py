"""Unties itself from its parent's death, leaves processes behind that spin, and returns an honest answer."""

import signal
import threading

from attacker import fork, hits, libc

ROWS = ("R11 survivor",)
CONTROL = (
    "the first process of the block's pid namespace is killed and reaped, and all others with it, before the next block"
)
CPU = 0.4
BURN = 0.5
# The answer may come before the survivors have used up the cap, or after.
ENDS = "any"


def analyse(tables, params):
    def stay():
        libc.prctl(1, 0, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        fork(endless)
        endless()

    libc.prctl(1, 0, 0, 0, 0)
    for _ in range(4):
        if fork(stay) is None:
            threading.Thread(target=endless).start()
    return hits()


def endless():
    while True:
        pass
