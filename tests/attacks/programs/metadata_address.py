"""Asks the cloud's metadata service for credentials."""

import socket

from attacker import hits, reaches

ROWS = (1,)
PEER_FAULT = "T23"
CONTROL = "network namespace of its own without any interface; seccomp: no socket"


def analyse(tables, params):
    return hits(
        reaches(socket.AF_INET, ("169.254.169.254", 80)),
        reaches(socket.AF_INET, ("169.254.170.2", 80)),
        reaches(socket.AF_INET6, ("fd00:ec2::254", 80)),
    )
