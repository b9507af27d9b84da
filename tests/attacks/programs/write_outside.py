"""Writes, renames, truncates and changes modes everywhere but in its own temporary folder."""

import os

from attacker import hits, works

ROWS = (8, 21)
CONTROL = "read-only root; blocks mounted read-only into the container; a root file system of its own, read-only once it is made"

FOLDERS = ("/", "/bin", "/banyan", "/block", "/blocks", "/dev", "/dev/shm", "/dev/mqueue", "/etc", "/home", "/lib", "/mnt", "/opt", "/proc", "/run", "/srv",
           "/sys", "/usr", "/usr/lib/python3", "/var", "/var/tmp")  # fmt: skip


def analyse(tables, params):
    own = [os.path.join(folder, name) for folder, _, files in os.walk("/blocks") for name in files]
    files = [
        *own,
        "/banyan/runner.py",
        "/etc/passwd",
        "/proc/self/mem" if params["tier"] == "zygote" else "/proc/sys/kernel/hostname",
    ]
    return hits(
        any(works(lambda f=folder: open(f"{f}/.banyan-attempt", "wb")) for folder in FOLDERS),
        any(works(lambda p=path: open(p, "r+b")) for path in files),
        any(works(lambda p=path: os.chmod(p, 0o777)) for path in files),
        any(works(lambda p=path: os.truncate(p, 0)) for path in files),
        any(works(lambda p=path: os.rename(p, p + "x")) for path in files),
        any(works(lambda p=path: os.utime(p)) for path in files),
    )
