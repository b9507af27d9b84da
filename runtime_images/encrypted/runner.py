"""PID 1 of the container for encrypted uploads: reads a provider's file strictly, or adds chunks of many. Holds no key.

It reads one instruction from stdin (u32 BE length, JSON) and answers with frames on stdout: u32 BE index, u8 status (0 ok, 1 failed),
u32 BE length, the bytes. Of an upload it answers one frame: the header, or why it is refused. Of a sum a frame a chunk: the words of the
total. Nothing here is secret from the service; the container is there because the files are hostile.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import hev  # type: ignore[import-not-found]  # a copy of the service's file lies beside this one in the image
import sums  # type: ignore[import-not-found]

MAX_INSTRUCTION_BYTES = 16 << 20
OK, FAILED = 0, 1
DONE, NO_SERVER, BAD_INSTRUCTION, TOO_LATE = 0, 3, 4, 5


class Profile:
    """What sums need of a profile."""

    def __init__(self, expected: hev.Expected) -> None:
        self.shape, self.moduli = expected.shape, expected.moduli


def read(instruction: Mapping[str, Any]) -> None:
    """Answers with the header of one file, or with the reason why it is not an upload."""
    try:
        found: dict[str, Any] = {"header": hev.read(Path(instruction["path"]), hev.Expected.from_json(instruction))}
    except hev.Refused as refused:
        found = {"code": refused.code, "reason": refused.reason, "vector": refused.vector, "chunk": refused.chunk}
    frame(0, OK, json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode())


def add(instruction: Mapping[str, Any]) -> None:
    """Answers with the sum over all files of each of the chunks asked for."""
    expected = hev.Expected.from_json(instruction)
    with contextlib.ExitStack() as files:
        uploads = [files.enter_context(hev.mapped(Path(path), expected)) for path in instruction["paths"]]
        for number in instruction["chunks"]:
            try:
                total = sums.add(Profile(expected), (chunk_of(number) for chunk_of in uploads))
                frame(number, OK, total.astype("<u8", copy=False).tobytes())
            except (hev.Refused, OSError, ValueError) as problem:
                sys.stderr.write(f"chunk {number}: {type(problem).__name__}\n")
                frame(number, FAILED, b"")


def frame(index: int, status: int, data: bytes) -> None:
    """One answer."""
    pieces = memoryview(struct.pack(">IBI", index, status, len(data)) + data)
    while pieces:
        pieces = pieces[os.write(1, pieces) :]


def instruction_of(stream: int) -> dict[str, Any]:
    """The one length-prefixed instruction. Raises EOFError, ValueError, TypeError."""
    size = struct.unpack(">I", _exactly(stream, 4))[0]
    if size > MAX_INSTRUCTION_BYTES:
        raise ValueError("the instruction is too long")
    found = json.loads(_exactly(stream, size))
    if not isinstance(found, dict) or found.get("task") not in TASKS:
        raise TypeError("the instruction names no task of this image")
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


def _end_with_the_server() -> None:
    while os.read(0, 4096):
        pass
    os._exit(NO_SERVER)


TASKS = {"read": read, "add": add}


def main() -> int:
    """Instruction in, frames out."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # PID 1 has no default action for it
    try:
        instruction = instruction_of(0)
    except EOFError:
        return NO_SERVER
    except (KeyError, TypeError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return BAD_INSTRUCTION
    signal.signal(signal.SIGALRM, lambda *_: os._exit(TOO_LATE))
    signal.setitimer(signal.ITIMER_REAL, float(instruction["wall_seconds"]))
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    TASKS[instruction["task"]](instruction)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
