"""Sends one datagram to a socket of the host; whether it arrived is seen outside."""

import socket

from attacker import hits, works

ROWS = (1,)
CONTROL = "network namespace of its own without any interface; seccomp: no socket"


def analyse(tables, params):
    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            door.sendto(b"out", ("127.0.0.1", params["doors"]["udp"]))

    return hits(works(send))
