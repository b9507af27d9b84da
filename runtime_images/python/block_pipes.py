"""One block's pipes, result, log and ready, and how their bytes go on without entering the memory of the first process."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

PIECE = 1 << 16


def took_told(name: str, nanoseconds: int) -> str:
    """The line that says, on made-up rows only, what a block took; jobs/program_kind.py reads it."""
    return f"--- {name} took {nanoseconds / 1e9:.4f} s of processor time\n"


class Pipes:
    """New for every block: a pipe keeps its size, its rights and the times of its last use, which the next block could read.

    copies  move bytes by reading and writing, where the container's filter has no splice; for a container of one block only
    name    the line that goes before the block's log
    most    bytes of the log that are kept; the rest is read and thrown away, so that a block never waits for it
    """

    def __init__(self, *, copies: bool, name: str, most: int) -> None:
        self._copies = copies
        self._head = f"--- {name}\n".encode()
        self._most, self._kept = most, 0
        self.result, write_result = os.pipe()
        self.log, write_log = os.pipe()
        self.ready, write_ready = os.pipe()
        self.writing_ends = [write_result, write_log, write_ready]
        self._nothing = os.open(os.devnull, os.O_WRONLY)

    def close_writing_ends(self) -> None:
        """They are the block's now."""
        for descriptor in self.writing_ends:
            os.close(descriptor)

    def close(self) -> None:
        """What is left in them is gone."""
        os.close(self.result)

    def waiting(self) -> int:
        """Bytes in the result pipe."""
        return _waiting(self.result)

    def pass_result_on(self, size: int) -> None:
        """Moves exactly that many bytes, which are there, to stdout."""
        while size:
            size -= self._move(self.result, 1, size)

    def pass_log_on(self) -> None:
        """Moves what is in the log to stderr, up to the cap, and the rest to nowhere."""
        there = _waiting(self.log)
        keep = min(there, self._most - self._kept)
        if keep > 0:
            if not self._kept:
                os.write(2, self._head)
            self._kept += self._move(self.log, 2, keep)
        elif there:
            self._move(self.log, self._nothing, there)

    def finish_log(self) -> int:
        """Passes the rest on and closes everything but the result; the bytes that were kept of the log."""
        while _waiting(self.log):
            self.pass_log_on()
        for descriptor in (self.log, self.ready, self._nothing):
            os.close(descriptor)
        return self._kept

    def _move(self, source: int, target: int, most: int) -> int:
        if self._copies:
            return os.write(target, os.read(source, min(most, PIECE)))
        return os.splice(source, target, most)


def _waiting(descriptor: int) -> int:
    found: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    return found
