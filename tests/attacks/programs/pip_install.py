"""Installs a package, as a program that wants to phone home would."""

import subprocess
import sys

from attacker import hits

ROWS = (1,)
PEER_FAULT = "T23"
CONTROL = "network namespace of its own without any interface; no pip in the image; root filesystem read-only"
CPU = 0.6


def analyse(tables, params):
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--target", "/tmp/x", "six"], capture_output=True, timeout=1
        )
        installed = done.returncode == 0
    except (OSError, subprocess.SubprocessError):
        installed = False
    return hits(installed)
