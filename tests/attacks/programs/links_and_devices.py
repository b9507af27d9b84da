"""Makes links, pipes with names, devices, and names that deceive whoever lists them."""

import os
import stat

from attacker import hits, works

ROWS = (13, 14, 15, 32, 33)
CONTROL = "seccomp: no link, symlink, mknod; no folder of the host is written, so no name leaves"


def analyse(tables, params):
    target = "/tmp/own"
    open(target, "w").close()
    made = hits(
        works(lambda: os.symlink("/etc/passwd", "/tmp/link")),
        works(lambda: os.link(target, "/tmp/hard")),
        works(lambda: os.link("/etc/passwd", "/tmp/hard2")),
        works(lambda: os.mkfifo("/tmp/fifo")),
        works(lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o666, os.makedev(254, 0))),
        works(lambda: os.mknod("/tmp/memory", stat.S_IFCHR | 0o666, os.makedev(1, 1))),
    )
    os.unlink(target)
    return made
