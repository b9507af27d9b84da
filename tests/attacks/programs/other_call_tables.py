"""Calls the kernel by the numbers of the x32 table, which a filter of numbers alone does not know."""

from attacker import call, hits

ROWS = (24,)
CONTROL = "both seccomp filters look at the architecture and at the x32 bit"
ENDS = "any"


def analyse(tables, params):
    x32 = 0x40000000
    return hits(call(x32 | 39) >= 0, call(x32 | 272, 0x10000000) >= 0, call(x32 | 41, 2, 1, 0) >= 0, call(x32 | 57) > 0)
