"""Answers, and then does not end: an exit handler and a thread go on."""

import atexit
import threading

from attacker import hits

ROWS = (28,)
CONTROL = "the block is killed at the cap, whether or not it has answered"
ENDS = "any"
CPU = 0.4
BURN = 0.5


def analyse(tables, params):
    def endless():
        while True:
            pass

    atexit.register(endless)
    threading.Thread(target=endless).start()
    return hits()
