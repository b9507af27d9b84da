"""Pings: a tunnel that firewalls like to forget."""

import socket
import subprocess

from attacker import hits, works

ROWS = (1,)
PEER_FAULT = "T23"
CONTROL = "seccomp: no socket; no capability for raw sockets"


def analyse(tables, params):
    def pinged():
        return (
            subprocess.run(["ping", "-c1", "-W1", "127.0.0.1"], capture_output=True, timeout=1, check=False).returncode
            == 0
        )

    return hits(
        works(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)),
        works(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
        works(pinged) and pinged(),
    )
