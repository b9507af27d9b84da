"""Asks for names: through the C library, and by hand to public resolvers."""

import socket

from attacker import hits, works

ROWS = (2,)
PEER_FAULT = "T23"
CONTROL = "network namespace of its own without any interface; seccomp: no socket"


def analyse(tables, params):
    def by_hand():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            door.settimeout(0.05)
            door.sendto(bytes.fromhex("123401000001000000000000076578616d706c6503636f6d0000010001"), ("8.8.8.8", 53))
            door.recv(512)

    return hits(works(lambda: socket.getaddrinfo("example.com", 80)), works(by_hand))
