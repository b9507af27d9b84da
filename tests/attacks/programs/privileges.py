"""Becomes somebody else: user, groups, capabilities, set-user-id files, and the switches that guard them."""

import ctypes
import os
import struct
import subprocess

from attacker import hits, libc, works

ROWS = (25,)
CONTROL = "user 65534, no capability, no-new-privileges, bounding set empty; seccomp: no call to change the user"


def analyse(tables, params):
    data = ctypes.create_string_buffer(24)
    libc.capget(struct.pack("II", 0x20080522, 0), data)
    suid = [
        path
        for path in ("/bin/su", "/usr/bin/su", "/usr/bin/passwd", "/usr/bin/chsh", "/bin/mount")
        if os.path.exists(path)
    ]
    became_root = False
    for path in suid[:2]:
        try:
            said = subprocess.run([path, "-c", "id -u"], input=b"\n", capture_output=True, timeout=1).stdout
            became_root = became_root or said.strip() == b"0"
        except (OSError, subprocess.SubprocessError):
            pass
    return hits(
        0 in (*os.getresuid(), *os.getresgid()),
        works(lambda: os.setuid(0)),
        works(lambda: os.setgid(0)),
        works(lambda: os.setgroups([0])),
        any(data.raw),  # capget is refused: left as it was
        any(libc.prctl(23, number, 0, 0, 0) == 1 for number in range(41)),
        libc.prctl(39, 0, 0, 0, 0) not in (1, -1),
        libc.prctl(21, 0, 0, 0, 0) not in (2, -1),
        became_root,
    )
