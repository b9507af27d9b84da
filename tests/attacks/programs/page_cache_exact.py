"""Asks the kernel outright which pages of the image are cached, and puts some out: a message to later blocks that needs no clock."""

import ctypes
import mmap
import os
import resource
import sys

from attacker import call, hits, let_through

ROWS = (38,)
CONTROL = "second seccomp filter: no mincore, cachestat, preadv2, fadvise64, readahead, getrusage"


def fault_counts():
    try:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt > 0
    except OSError:
        return False


def child_counts():
    return let_through(61, -1, 0, 0, ctypes.create_string_buffer(256))


def analyse(tables, params):
    fd = os.open(sys.executable, os.O_RDONLY)
    buffer = ctypes.create_string_buffer(64)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)
    with mmap.mmap(fd, 1 << 16, prot=mmap.PROT_READ) as pages:
        at = ctypes.addressof(
            ctypes.c_char.from_buffer_copy(pages[:1])
        )  # some address of ours: the call is what counts
    return hits(
        let_through(27, at & -4096, 4096, buffer),
        let_through(451, fd, vector, buffer, 0),
        let_through(327, fd, vector, 1, 0, 0, 8),
        call(221, fd, 0, 0, 4) >= 0,
        call(187, fd, 0, 4096) >= 0,
        fault_counts(),
        child_counts(),
    )
