"""Connects by TCP to a server that listens on the host, and to the usual addresses of a host."""

import socket

from attacker import hits, reaches

ROWS = (1,)
CONTROL = "network namespace of its own without any interface; seccomp: no socket"


def analyse(tables, params):
    port = params["doors"]["tcp"]
    return hits(
        *(reaches(socket.AF_INET, (host, port)) for host in ("127.0.0.1", "172.17.0.1", "10.0.0.1", "192.168.65.2"))
    )
