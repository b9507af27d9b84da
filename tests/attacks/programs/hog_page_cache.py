"""Reads through the whole image, so that the memory limit is full of its pages when the next block starts."""

import os

from attacker import hits

ROWS = ("R11 page cache",)
CONTROL = "page cache gives way to memory; the witness has its memory all the same. That a page is cached is residual (row 38)"
CPU = 0.8


def analyse(tables, params):
    read, most = 0, 512 << 20
    for folder, _, files in os.walk("/usr"):
        for name in files:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    while piece := file.read(1 << 20):
                        read += len(piece)
            except OSError:
                continue
            if read > most or os.times().user + os.times().system > 0.6:
                return hits()
    return hits()
