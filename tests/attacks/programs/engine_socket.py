"""Looks for the engine's socket, and for any other socket file, and connects."""

import os
import socket
import stat

from attacker import hits, reaches

ROWS = (4,)
PEER_FAULT = "T23"
CONTROL = "the engine's socket is never mounted; seccomp: no connect"

USUAL = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
)


def analyse(tables, params):
    found = []
    for top in ("/run", "/var/run", "/tmp", "/block", "/dev"):
        for folder, _, files in os.walk(top):
            paths = (os.path.join(folder, name) for name in files)
            found += [path for path in paths if stat.S_ISSOCK(os.lstat(path).st_mode)]
    return hits(any(map(os.path.exists, USUAL)), found, any(reaches(socket.AF_UNIX, path) for path in (*USUAL, *found)))
