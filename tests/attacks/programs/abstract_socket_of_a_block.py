"""Leaves a process that listens on an abstract socket, for the next block to connect to."""

import signal
import socket
import time

from attacker import fork, hits, reaches

ROWS = (4,)
CONTROL = "second seccomp filter: no process and no socket; a network namespace each block; everything of a block is dead before the next starts"


def before(tables, params):
    def listen():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with socket.socket(socket.AF_UNIX) as door:
            door.bind("\0banyan-neighbour")
            door.listen()
            while True:
                time.sleep(1)

    fork(listen)


def analyse(tables, params):
    return hits(reaches(socket.AF_UNIX, "\0banyan-neighbour"))
