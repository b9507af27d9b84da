"""PID 1 of a program's container: starts one block after the other, each at its planned time, and passes on what came of it.

It reads one instruction from stdin and answers with frames on stdout: u32 BE block index, u8 status (0 ok, 1 failed), u32 BE
length, the vector. stderr is for the operator's sealed log. When stdin reaches its end, the server is gone and everything here
ends at once.

It loads no library and no program and is the parent of no block: blocks are copies of the zygote, which it tells when to
start one. So what it knows of a block (how it ended, how long it took) is in no other block's memory. A block's vector and log
never enter its own memory either: the kernel moves them from pipe to pipe.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import attendance
import kernel
import zygote
from block_pipes import Pipes, took_told

MAX_INSTRUCTION_BYTES = 16 << 20
FAILED, OK = 1, 0
# Exit codes.
DONE, BAD_INSTRUCTION, NO_SERVER, TOO_LATE, NOT_ISOLATED, NO_ZYGOTE, NOT_FIRST, OVERRUN = 0, 2, 3, 4, 5, 6, 7, 8
# Bytes of a block's stdout and stderr that are kept, and of all blocks together.
LOG_BYTES, TRACE_BYTES, ALL_LOGS_BYTES = 4096, 16_384, 1 << 20
PROBE_SECONDS = 5.0
# Of the time that is reserved for taking a block apart, the part after which it must be gone. In the rest the kernel frees, a little
# later, what the block had of it: a name space of messages, numbers of mounts and devices, which the next block could tell by.
GONE_WITHIN = 0.5


class Supervisor:
    """One instruction being carried out."""

    def __init__(self, instruction: Mapping[str, Any]) -> None:
        self._alone = instruction["isolation"] == "none"
        self._width = sum(output["length"] or 1 for output in instruction["outputs"])
        self._blocks = instruction["blocks"]
        self._cpu = float(instruction["cpu_seconds_per_block"])
        self._slot = float(instruction["slot_seconds"])
        self._clear = float(instruction["clear_seconds"])
        self._quiet = (1 - GONE_WITHIN) * self._clear
        self._log_bytes = TRACE_BYTES if instruction["trace"] else LOG_BYTES
        self._trace = bool(instruction["trace"])
        self._logs_left = ALL_LOGS_BYTES
        self._channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._spared = {os.getpid()}
        if os.fork() == 0:
            self._channel.close()
            (zygote.serve if self._alone else zygote.serve_apart)(far, instruction)
        far.close()

    def run(self) -> int:
        """The exit code, after every block has had its slot.

        Before the end of a slot, in time for its memory, mounts and namespaces to be freed, what is left of a block is ended. Should it
        all the same not be gone in time, the next one is not run: a block that began late would know what the one before did, could be
        late itself, and so on to the last. The operator is told.
        """
        self._wait(self._channel.fileno(), None)
        if self._channel.recv(len(zygote.READY)) != zygote.READY:
            return NO_ZYGOTE if self._alone else NOT_ISOLATED
        self._spared |= set(attendance.others(self._spared))  # nobody is there yet but the zygote
        tried = self._run_block("", "the measures", time.monotonic() + PROBE_SECONDS)
        if tried is None:
            return NOT_ISOLATED
        tried.close()
        begun, overrun = time.monotonic(), False
        for number, block in enumerate(self._blocks):
            start = begun + number * self._slot
            if number and time.monotonic() > start - self._quiet:
                overrun = True
                sys.stderr.write(f"block {block['index']} was not run: what was before it was not gone in time\n")
                self._frame(block["index"], None)
                continue
            self._wait(None, start)
            pipes = self._run_block(block["folder"], f"block {block['index']}", start + self._slot - self._clear)
            self._frame(block["index"], pipes)
        return OVERRUN if overrun else DONE

    def _run_block(self, folder: str, name: str, deadline: float) -> Pipes | None:
        """Has one block run; its pipes with the whole vector in the first, or None where there is none. Everything else is gone."""
        pipes = Pipes(copies=self._alone, name=name, most=min(self._log_bytes, self._logs_left))
        socket.send_fds(self._channel, [folder.encode() or b"\0"], pipes.writing_ends)
        pipes.close_writing_ends()
        watched = (0, self._channel.fileno())
        in_time = attendance.attend(pipes, self._cpu, deadline, self._spared, self._check, watched)
        taken = attendance.used(self._spared) if self._trace and not in_time else 0
        attendance.end_all_but(self._spared)
        self._logs_left -= pipes.finish_log()
        if taken and folder:
            sys.stderr.write(took_told(name, taken))
        if in_time and pipes.waiting() == 8 * self._width:
            return pipes
        pipes.close()
        return None

    def _wait(self, descriptor: int | None, until: float | None) -> None:
        """Until something can be read from the descriptor, or that moment on the monotonic clock."""
        poll = select.poll()
        for each in (0, self._channel.fileno()):
            poll.register(each, select.POLLIN)
        while until is None or (left := until - time.monotonic()) > 0:
            for ready, _ in poll.poll(None if until is None else left * 1000):
                if ready == descriptor:
                    return
                self._check(ready)

    def _check(self, descriptor: int) -> None:
        """Ends everything when the server or the zygote is gone."""
        if descriptor == 0 and not os.read(0, 4096):
            os._exit(NO_SERVER)
        if descriptor == self._channel.fileno():
            os._exit(NO_ZYGOTE)

    def _frame(self, index: int, pipes: Pipes | None) -> None:
        _write(struct.pack(">IBI", index, FAILED if pipes is None else OK, 0 if pipes is None else 8 * self._width))
        if pipes is not None:
            pipes.pass_result_on(8 * self._width)
            pipes.close()


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def read_instruction(stream: int) -> dict[str, Any]:
    """The one length-prefixed instruction. Raises EOFError, ValueError, TypeError."""
    size = struct.unpack(">I", _exactly(stream, 4))[0]
    if size > MAX_INSTRUCTION_BYTES:
        raise ValueError("the instruction is too long")
    found = json.loads(_exactly(stream, size))
    if not isinstance(found, dict) or found.get("kind") != "program":
        raise TypeError("the instruction is not that of a program")
    if found["isolation"] not in ("namespaces", "none") or (found["isolation"] == "none" and len(found["blocks"]) > 1):
        raise ValueError("without namespaces the container is the only wall, so it takes one block")
    return found


def _exactly(stream: int, size: int) -> bytes:
    parts = []
    while size:
        data = os.read(stream, min(size, 1 << 20))
        if not data:
            raise EOFError
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def main() -> int:
    """Instruction in, frames out; 0 when every block has its frame."""
    if os.getpid() != 1:
        return NOT_FIRST  # it ends every process it can see
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # PID 1 has no default action for it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans that end are cleared away by the kernel
    try:
        instruction = read_instruction(0)
    except EOFError:
        return NO_SERVER
    except (KeyError, TypeError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return BAD_INSTRUCTION
    # Should whoever started this container never come back, it still ends.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(TOO_LATE))
    signal.setitimer(signal.ITIMER_REAL, float(instruction["wall_seconds"]))
    supervisor = Supervisor(instruction)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
