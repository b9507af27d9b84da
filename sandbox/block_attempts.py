"""Tries to get out of one block of a program: what sandbox.block_check runs as a researcher's file, behind escape_attempts.py.

The two texts are one program there, so nothing stands here that would have to come first. Standard library only, and no import
from any room. Each attempt yields a line for each breach, and nothing if the block held.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = {"banyan", "block", "dev", "tmp", "usr"}
RESULT = 3
WIDTH = 60


def other_files() -> Iterator[str]:
    """Rows of other blocks, folders of the container, the runner: a block's root has libraries, its rows and /tmp."""
    yield from sorted({entry.name for entry in Path("/").iterdir()} - ROOT)
    yield from (str(entry) for entry in Path("/banyan").iterdir() if entry.name != "lib")


def other_processes() -> Iterator[str]:
    """The process that blocks are copies of, and the one that starts them."""
    if os.getppid() != 0:
        yield "a parent"
    for number in (1, 2, 3):
        with contextlib.suppress(OSError):
            if number != os.getpid():
                os.kill(number, 0)
                yield f"process {number}"


def new_processes() -> Iterator[str]:
    """A process could outlive the block, and take time from the next one."""
    with contextlib.suppress(OSError):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        yield "fork"


def descriptors() -> Iterator[str]:
    """Open files of others: 0 is nothing, 1 and 2 are the block's log, 3 is its result."""
    for number in range(256):
        with contextlib.suppress(OSError):
            kind = os.fstat(number).st_mode
            if number > RESULT or (number and not stat.S_ISFIFO(kind)):
                yield f"descriptor {number}"


def counters() -> Iterator[str]:
    """Numbers that the whole machine counts on: one block could turn them, and a later one read them."""
    with contextlib.suppress(OSError):
        os.close(os.pipe()[0])
        yield "pipe"
    with contextlib.suppress(OSError):
        os.getloadavg()
        yield "load"
    for path in ("/dev/null", "/dev/zero", "/dev/urandom"):
        with contextlib.suppress(OSError):
            os.utime(path)
            yield path


def answers(attempts: dict[str, Callable[[], Iterator[str]]]) -> dict[str, list[float]]:
    """For each attempt, the letters of what it got as numbers: numbers are all that leaves a block."""
    said = {name: ", ".join(attempt())[:WIDTH] for name, attempt in attempts.items()}
    return {name: [float(ord(letter)) for letter in text.ljust(WIDTH, "\0")] for name, text in said.items()}
