"""Makes an io_uring, whose operations no seccomp filter sees."""

import ctypes

from attacker import hits, let_through

ROWS = (24,)
CONTROL = "seccomp: no io_uring call"


def analyse(tables, params):
    return hits(
        let_through(425, 8, ctypes.create_string_buffer(256)),
        let_through(426, -1, 0, 0, 0),
        let_through(427, -1, 0, 0, 0),
    )
