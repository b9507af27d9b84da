"""Runs what it wrote: a script, a copy of a binary, and a file that is only in memory."""

import ctypes
import os
import shutil
import subprocess
import sys

from attacker import call, hits, let_through, works

ROWS = (36,)
CONTROL = "second seccomp filter: no execve; the tmpfs is noexec; no memfd_create. No barrier against native code, which numpy alone brings"


def analyse(tables, params):
    with open("/tmp/script", "w") as file:
        file.write(f"#!{sys.executable}\n")
    works(lambda: shutil.copyfile("/usr/bin/true", "/tmp/binary"))
    ran = []
    for path in ("/tmp/script", "/tmp/binary"):
        if os.path.exists(path):
            os.chmod(path, 0o700)
            ran += [runs(lambda p=path: os.posix_spawn(p, [p], {})), runs(lambda p=path: subprocess.Popen([p]).pid)]
    return hits(*ran, call(319, ctypes.c_char_p(b"x"), 0) >= 0, let_through(59, ctypes.c_char_p(b"/not/there"), 0, 0))


def runs(start):
    """Whether it starts and ends well."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(start(), 0)[1]) == 0
    except OSError:
        return False
