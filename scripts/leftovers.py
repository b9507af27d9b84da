"""Decides what a private engine that was killed has left behind, and ends it: processes first, then mounts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

MOUNT_POINT_FIELD = 4  # of /proc/self/mountinfo
GONE_SECONDS = 5.0


def processes(runtime: Path) -> list[int]:
    """Containerd, its shims and what they started: they name the engine's folder, or have a parent that does."""
    mark = f"{runtime}/exec".encode()
    parents: dict[int, int] = {}
    named: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if mark in (entry / "cmdline").read_bytes():
                named.add(pid)
    started = {pid for pid, parent in parents.items() if parent in named}
    return sorted((named | started) - {os.getpid()})


def mounts(*folders: Path) -> list[str]:
    """Mount points inside the folders, the deepest first."""
    points = [line.split()[MOUNT_POINT_FIELD] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [point for point in points if any(Path(point).is_relative_to(folder) for folder in folders)]
    return sorted(inside, key=len, reverse=True)


def clear(runtime: Path, data: Path) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while (left := processes(runtime)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for point in mounts(runtime, data):
        subprocess.run(["umount", "--lazy", point], check=False, stderr=subprocess.DEVNULL)
