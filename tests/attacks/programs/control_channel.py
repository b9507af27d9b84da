"""Reads from the supervisor's instruction stream and closes it, which is its sign to end."""

import os
import select
import stat

from attacker import hits, works

ROWS = (37,)
CONTROL = "a block's stdin is the null device"


def analyse(tables, params):
    null = stat.S_ISCHR(os.fstat(0).st_mode) and os.fstat(0).st_rdev == os.makedev(1, 3)
    ready = select.select([0], [], [], 0)[0]
    readable = bool(ready) and bool(os.read(0, 1))
    works(lambda: os.close(0))
    return hits(not null, readable)
