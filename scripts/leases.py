"""Decides who is using this checkout's engine: a lease is a file naming a live process, and vanishes with it.

Process ids are used again, so a lease names the process's start time too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

STARTED_AT_FIELD = 19  # of /proc/PID/stat, counted after the command name
KILL_SECONDS = 5.0


def process_state(pid: int) -> tuple[str, str] | None:
    """State letter and start time, or nothing if the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[STARTED_AT_FIELD]
    except (OSError, IndexError):
        return None


def is_running(pid: int) -> bool:
    """A zombie counts as gone: where nobody reaps orphans, a dead process stays in the table."""
    state = process_state(pid)
    return state is not None and state[0] != "Z"


def end(pid: int, seconds: float) -> None:
    """SIGTERM, and SIGKILL if the process is still there after `seconds`."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, KILL_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not is_running(pid):
                return
            time.sleep(0.05)


def holders(folder: Path) -> list[int]:
    """The live processes that hold a lease; leases of dead ones are removed."""
    living = []
    for lease in folder.glob("*"):
        state = process_state(int(lease.name))
        if state is not None and state[0] != "Z" and state[1] == lease.read_text():
            living.append(int(lease.name))
        else:
            lease.unlink(missing_ok=True)
    return living


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """A lease of this process for as long as the context lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    lease = folder / str(os.getpid())
    state = process_state(os.getpid())
    lease.write_text(state[1] if state else "")
    try:
        yield
    finally:
        lease.unlink(missing_ok=True)


@contextlib.contextmanager
def passing_signals_to(pid: int) -> Iterator[None]:
    """SIGTERM goes on to the child, SIGINT does not: the terminal has sent it to both already."""

    def forward(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
