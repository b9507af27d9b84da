"""Asks Ray's dashboard and its agents for the jobs and the logs."""

import socket
import urllib.request

from attacker import hits, reaches, works

ROWS = ("Ray",)
PEER_FAULT = "T23"
CONTROL = "network namespace of its own without any interface"


def analyse(tables, params):
    ports = (params["doors"]["tcp"], 8265, 52365, 44217)
    return hits(
        any(reaches(socket.AF_INET, ("127.0.0.1", port)) for port in ports),
        works(lambda: urllib.request.urlopen("http://127.0.0.1:8265/api/jobs/", timeout=0.05)),
    )
