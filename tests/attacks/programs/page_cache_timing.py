"""Reads pages of the image that nothing else uses, or does not; a later block sees by the clock which it was."""

import os
import time

ROWS = (38,)
CONTROL = "none: a block has a clock and reads the image"
RESIDUAL = "timing of pages, caches and memory that blocks share; stated in the guarantee"


def analyse(tables, params):
    folder = "/usr/share"
    for name in sorted(os.listdir(folder))[:4] if os.path.isdir(folder) else ():
        started = time.perf_counter_ns()
        try:
            os.listdir(f"{folder}/{name}")
        except OSError:
            pass
        time.perf_counter_ns() - started  # this is what cannot be kept from it
    return {"hit": 0.0}
