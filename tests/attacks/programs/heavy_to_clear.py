"""Makes itself slow to be taken apart, and waits to be ended: the next block would begin late, and could tell others by being late itself."""

import ctypes
import glob
import os
import time

from attacker import PAGE, libc

ROWS = ("R11 clearing",)
CONTROL = "the slot's end: a block is ended so long before it as building the same takes; a block that would begin late is not run"
ENDS = "fails"
CPU = 0.8
READ, WRITE, PRIVATE, ANONYMOUS, POPULATE = 1, 2, 2, 0x20, 0x8000


def analyse(tables, params):
    libc.mmap.restype = libc.mprotect.restype = ctypes.c_long
    libc.mmap.argtypes = [ctypes.c_long, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_long, ctypes.c_size_t, ctypes.c_int]
    end = 0.8 * CPU

    # All the memory that it may have, page by page, and every other page a mapping of its own.
    size = 8 << 20
    while time.process_time() < end / 2:
        at = libc.mmap(0, size, READ | WRITE, PRIVATE | ANONYMOUS | POPULATE, -1, 0)
        if at == -1:
            break
        for page in range(at, at + size, 2 * PAGE):
            libc.mprotect(page, PAGE, READ)

    # Then pages of the largest library, over and over.
    name = max(
        glob.glob("/usr/lib/python3*/**/*.so*", recursive=True) + glob.glob("/usr/lib/*/*.so*"), key=os.path.getsize
    )
    library, length = os.open(name, os.O_RDONLY), os.path.getsize(name)
    while time.process_time() < end and libc.mmap(0, length, READ, PRIVATE | POPULATE, library, 0) != -1:
        pass
    time.sleep(3600)
