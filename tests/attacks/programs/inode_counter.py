"""Sends a number to later blocks through the machine's counter of inode numbers, which every new pipe and socket shows."""

import ctypes
import os
import socket

from attacker import call, hits, works

ROWS = ("R11 counters",)
CONTROL = "second seccomp filter: no pipe, socketpair or memfd_create in a block, so it cannot turn the counter"


def analyse(tables, params):
    def pipe():
        for end in os.pipe():
            os.close(end)

    def pair():
        for end in socket.socketpair():
            end.close()

    memory = call(319, ctypes.c_char_p(b"x"), 0)
    return hits(works(pipe), works(pair), memory >= 0, works(lambda: socket.socket(socket.AF_UNIX).close()))
