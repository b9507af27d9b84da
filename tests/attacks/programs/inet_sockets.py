"""Makes sockets of every family that leads out of a machine, of every kind."""

import socket

from attacker import hits, works

ROWS = (1, 3)
CONTROL = "seccomp: no socket but AF_UNIX, and in a block none; empty network namespace"

FAMILIES = {
    "INET": 2,
    "INET6": 10,
    "NETLINK": 16,
    "PACKET": 17,
    "ALG": 38,
    "VSOCK": 40,
    "BLUETOOTH": 31,
    "CAN": 29,
    "XDP": 44,
    "TIPC": 30,
}
KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)


def analyse(tables, params):
    return hits(
        *(
            any(works(lambda f=family, k=kind: socket.socket(f, k).close()) for kind in KINDS)
            for family in FAMILIES.values()
        )
    )
