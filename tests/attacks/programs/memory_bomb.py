"""Eats memory in one process until it may not."""

from attacker import hits

ROWS = (6,)
CONTROL = "RLIMIT_AS of the block; memory = memory + swap of the container; the block dies before PID 1"
ENDS = "any"
CPU = 0.6


def analyse(tables, params):
    held = []
    try:
        while len(held) < 512:
            held.append(bytearray(b"\1") * (1 << 20))
    except MemoryError:
        pass
    return hits((len(held) << 20) > params["memory_bytes"])
