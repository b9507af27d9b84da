"""Leaves a lock on a file that all blocks see, held by a process that means to stay."""

import errno
import fcntl
import os
import signal
import time

from attacker import fork, hits, libc

ROWS = ("R11 leftovers",)
CONTROL = "everything of a block is dead before the next starts, and its locks with it"

SHARED = "/usr/bin/python3"


def before(tables, params):
    def hold():
        libc.prctl(1, 0, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        fcntl.flock(os.open(SHARED, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(os.open("/dev/null", os.O_RDWR), fcntl.LOCK_EX)
        while True:
            time.sleep(1)

    fork(hold)


def analyse(tables, params):
    flock = errno_of(lambda: fcntl.flock(os.open(SHARED, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB))
    lease = errno_of(lambda: fcntl.lockf(os.open("/dev/null", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB))
    return hits(flock == errno.EAGAIN, lease == errno.EAGAIN)


def errno_of(action):
    try:
        action()
    except OSError as problem:
        return problem.errno
    return 0
