"""Speaks to Ray's control store, whose clients may run any code on any worker."""

import os
import socket

from attacker import hits, reaches

ROWS = ("Ray",)
PEER_FAULT = "T23"
CONTROL = "network namespace of its own without any interface; no environment of the worker's"


def analyse(tables, params):
    ports = (params["doors"]["tcp"], 6379, 6380, 10001)
    return hits(
        any(reaches(socket.AF_INET, ("127.0.0.1", port)) for port in ports),
        any(name.startswith("RAY_") for name in os.environ),
    )
