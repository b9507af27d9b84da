"""Fills the temporary folder, in one file and in one that is deleted but open."""

import os

from attacker import hits

ROWS = (8,)
CONTROL = "size of the block's tmpfs; gone with its mount namespace"


def analyse(tables, params):
    written = 0
    try:
        for name in ("/tmp/a", "/tmp/b"):
            file = os.open(name, os.O_CREAT | os.O_WRONLY)
            if name == "/tmp/b":
                os.unlink(name)
            while written < 4 * params["tmpfs_bytes"]:
                written += os.write(file, bytes(1 << 20))
    except OSError:
        pass
    return hits(written > params["tmpfs_bytes"], written == 0)
