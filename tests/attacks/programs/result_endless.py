"""Writes to the result pipe without end."""

import os

from attacker import pipes

ROWS = (37,)
CONTROL = "a pipe holds 64 KiB, and a block that waits for room is ended at its slot"
ENDS = "fails"


def analyse(tables, params):
    for _ in range(64):
        for number in pipes():
            os.write(number, b"x" * (1 << 16))
    os._exit(0)
