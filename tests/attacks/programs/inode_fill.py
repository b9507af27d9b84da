"""Makes files and folders until there are no more, deep and flat."""

import os

from attacker import hits

ROWS = (9,)
GVISOR = "gVisor takes no cap on files: the container's memory is what ends it"
CONTROL = "number of inodes of the block's tmpfs; gone with its mount namespace"


def analyse(tables, params):
    made, folder = 0, "/tmp"
    try:
        while made < 4 * params["tmpfs_inodes"]:
            if made < 50:
                folder += "/d"
                os.mkdir(folder)
            else:
                os.close(os.open(f"{folder}/{made}", os.O_CREAT))
            made += 1
    except OSError:
        pass
    return hits(made > params["tmpfs_inodes"], made == 0)
