"""What may be believed of a container's output: frames of the form, one for each block that was asked for, and nothing else.

A frame is u32 BE block index, u8 status (0 done, 1 failed), u32 BE length, the bytes (runtime_images/query/runner.py).
The bytes are still hostile: what is in them is for a strict reader of their kind (`limited.py` runs one in a process of its own).
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final

_FRAME: Final = struct.Struct(">IBI")
FRAME_BYTES: Final = _FRAME.size
_DONE, _FAILED = 0, 1
_LENGTH: Final = struct.Struct(">I")


def framed_instruction(instruction: bytes) -> bytes:
    """The instruction as a runner reads it from stdin: u32 BE length, then the bytes."""
    return _LENGTH.pack(len(instruction)) + instruction


def read_frames(output: bytes, indexes: Collection[int], partial_bytes: int) -> dict[int, bytes]:
    """The partials in `output`, by block index. Total: any bytes give an answer, and none raises.

    Kept is a frame that is complete, has status 0, at most `partial_bytes` bytes, and an index of `indexes` that no other
    frame has: of two frames with one index, neither is believed. Reading stops where the form is broken (a length that leads
    past the end, an unknown status) or there are twice as many frames as blocks: nothing behind can be trusted, what came
    before stands. A block that is missing from the answer contributes its default (design R9), whatever the reason.
    """
    asked = frozenset(indexes)
    found: dict[int, bytes] = {}
    seen: set[int] = set()
    position = 0
    for _ in range(2 * len(asked)):
        if position + _FRAME.size > len(output):
            break
        index, status, length = _FRAME.unpack_from(output, position)
        start, position = position + _FRAME.size, position + _FRAME.size + length
        if status not in (_DONE, _FAILED) or position > len(output):
            break
        if index in seen:
            found.pop(index, None)
        elif index in asked:
            seen.add(index)
            if status == _DONE and length <= partial_bytes:
                found[index] = output[start:position]
    return found
