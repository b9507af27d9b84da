"""Connects to an abstract socket of the host, which needs no file."""

import socket

from attacker import hits, reaches

ROWS = (4,)
CONTROL = "network namespace of its own; seccomp: no socket"


def analyse(tables, params):
    return hits(reaches(socket.AF_UNIX, "\0" + params["doors"]["abstract"]))
