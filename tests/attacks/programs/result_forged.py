"""Writes frames for the other blocks into its own result, of just the right length, with a head that looks harmless."""

import os
import struct

from attacker import pipes

ROWS = (16, 17, 18, 31)
CONTROL = "bytes of a pipe are a block's own vector and nothing else: never parsed, unpickled or unpacked"
ENDS = "any"


def analyse(tables, params):
    frame = (
        bytes(8)
        + struct.pack(">IBI", 2, 0, params["vector_bytes"])
        + struct.pack(">IBI", 0, 0, 8)
        + b"\xff" * params["vector_bytes"]
    )
    for number in pipes():
        os.write(number, frame[: params["vector_bytes"]])
    os._exit(0)
