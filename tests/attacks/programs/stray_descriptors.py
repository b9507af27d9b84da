"""Writes a forged frame for every other block to every open descriptor but its own pipe, then opens as many files as it can."""

import fcntl
import os
import stat
import struct

from attacker import hits, pipes

ROWS = (37,)
CONTROL = "every descriptor but the result pipe is closed; nofile"


def writable(number):
    return fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY


def analyse(tables, params):
    forged = b"".join(
        struct.pack(">IBI", number, 0, params["vector_bytes"]) + bytes(params["vector_bytes"]) for number in (0, 2)
    )
    strange = 0
    for number in range(1024):
        try:
            mode = os.fstat(number).st_mode
            if not stat.S_ISFIFO(mode):
                strange += not (stat.S_ISCHR(mode) and os.fstat(number).st_rdev == os.makedev(1, 3))
                os.write(number, forged)
        except OSError:
            pass
    held = 0
    try:
        while held < 5000:
            os.open("/dev/null", os.O_RDONLY)
            held += 1
    except OSError:
        pass
    return hits(
        params["tier"] == "zygote" and strange,
        sum(writable(number) for number in pipes()) > 3,
        held > params["open_files"],
        held == 0,
    )
