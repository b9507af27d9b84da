"""Looks for Ray's objects: shared memory files, sockets and logs of its sessions."""

import os
import socket

from attacker import hits, names, reaches

ROWS = ("Ray",)
PEER_FAULT = "T11"
CONTROL = "nothing of the host is mounted but the block; no /dev/shm"


def analyse(tables, params):
    planted = params["doors"]["unix"]
    return hits(
        any("plasma" in name or "ray" in name for name in names("/dev/shm")),
        os.path.exists("/tmp/ray"),
        os.path.exists(planted),
        reaches(socket.AF_UNIX, planted),
    )
