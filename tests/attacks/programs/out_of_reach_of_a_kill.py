"""Calls that do much, for little processor time beforehand, and do not look whether their process was killed: the block is gone late."""

import ctypes
import mmap
import os

from attacker import PAGE, call, hits, let_through

ROWS = ("R11 clearing",)
CONTROL = "seccomp: no madvise that collapses or prefetches memory, no membarrier, no fsync; no file of rows to be read at once"
COLLAPSE, WILLNEED, POPULATE_WRITE, GLOBAL, REGISTER_GLOBAL = 25, 3, 23, 1, 4
MADVISE, MEMBARRIER, FSYNC, FDATASYNC, SYNCFS, SYNC = 28, 324, 74, 75, 306, 162
EINVAL = 22


def analyse(tables, params):
    size = 4 << 20
    memory = mmap.mmap(-1, size)
    memory[0] = 1
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    # Answered as done, and nothing is: a descriptor that is none is no error either.
    waits = [call(number, 999) != 0 for number in (FSYNC, FDATASYNC)]
    # The filter answers that there is no such advice, or takes it as a wish.
    advised = [call(MADVISE, address, size, advice) != -EINVAL for advice in (COLLAPSE, POPULATE_WRITE)]
    wished = call(MADVISE, 0, -PAGE, WILLNEED) != 0  # the kernel's own answer is that there is no such memory
    return hits(
        *advised,
        wished,
        *(let_through(MEMBARRIER, command, 0, 0) for command in (GLOBAL, REGISTER_GLOBAL)),
        *waits,
        *(let_through(number, 1) for number in (SYNCFS, SYNC)),
        params["tier"] == "zygote" and any(name.endswith(".arrow") for _, _, names in os.walk("/") for name in names),
    )
