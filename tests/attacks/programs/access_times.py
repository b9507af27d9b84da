"""Touches files that all blocks see, so that later blocks read from their times that it did."""

import os
import time

from attacker import hits, works

ROWS = ("R11 leftovers",)
TIERS = ("zygote",)
CONTROL = "everything that blocks share is mounted read-only, so that no access time is written"

SHARED = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/usr/bin/python3",
    "/usr/lib",
    "/usr",
    "/banyan",
    "/lib",
    "/etc",
)


def times(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns


def analyse(tables, params):
    earlier = [times(path) for path in SHARED]
    time.sleep(0.02)
    for path in SHARED:
        works(lambda p=path: open(p, "rb").read(16))
        works(lambda p=path: open(p, "wb").write(b"x"))
        works(lambda p=path: os.listdir(p))
        works(lambda p=path: os.utime(p))
    return hits(*(times(path) != before for path, before in zip(SHARED, earlier, strict=True)))
