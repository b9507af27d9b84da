"""Turns the machine's counters of mounts and devices, and reads those of mounts with statx."""

from attacker import call, hits, let_through

ROWS = ("R11 counters",)
CONTROL = "seccomp: nothing in a block mounts, unshares or opens a tree, so the counters move the same for every block; no statx"


def analyse(tables, params):
    import ctypes

    root = ctypes.c_char_p(b"/")
    return hits(
        call(165, ctypes.c_char_p(b"x"), ctypes.c_char_p(b"/tmp"), ctypes.c_char_p(b"tmpfs"), 0, 0) >= 0,
        call(430, ctypes.c_char_p(b"tmpfs"), 0) >= 0,
        call(428, -100, root, 1) >= 0,
        call(272, 0x20000) >= 0,
        let_through(332, -100, root, 0, 0x1000, ctypes.create_string_buffer(256)),
    )
