"""Turns the machine's counters of mounts and devices, which statx shows to later blocks."""

from attacker import call, hits

ROWS = ("R11 counters",)
CONTROL = "seccomp: nothing in a block mounts, unshares or opens a tree, so the counters move the same for every block"


def analyse(tables, params):
    import ctypes

    root = ctypes.c_char_p(b"/")
    return hits(
        call(165, ctypes.c_char_p(b"x"), ctypes.c_char_p(b"/tmp"), ctypes.c_char_p(b"tmpfs"), 0, 0) >= 0,
        call(430, ctypes.c_char_p(b"tmpfs"), 0) >= 0,
        call(428, -100, root, 1) >= 0,
        call(272, 0x20000) >= 0,
    )
