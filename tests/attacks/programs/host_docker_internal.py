"""Looks for the host by the names that engines give it."""

import socket

from attacker import hits, works

ROWS = (2,)
PEER_FAULT = "T23"
CONTROL = "network namespace of its own without any interface; no hosts file but the engine's own; seccomp: no socket"

NAMES = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")


def analyse(tables, params):
    return hits(*(works(lambda n=name: socket.getaddrinfo(n, 80)) for name in NAMES))
