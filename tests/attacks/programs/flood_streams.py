"""Writes without end to every stream there is."""

import os

from attacker import hits

ROWS = (11, 12)
CONTROL = "a block's streams are a pipe of its own, of which a little is kept and the rest thrown away; the container's have a cap"
ENDS = "any"


def analyse(tables, params):
    for _ in range(64):
        for number in (1, 2):
            try:
                os.write(number, b"x" * (1 << 20))
            except OSError:
                pass
    return hits()
