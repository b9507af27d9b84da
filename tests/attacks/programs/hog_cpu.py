"""Spins in as many processes and threads as it can, up to the end of its slot, to take time from the next block."""

import contextlib
import threading

from attacker import fork

ROWS = ("R11 cpu",)
CONTROL = (
    "cap on the processor time of all the block's processes; dead before the next slot; the slot is longer than the cap"
)
ENDS = "fails"
CPU = 0.4
BURN = 0.5


def analyse(tables, params):
    def spin():
        for _ in range(3):
            start(endless)
        endless()

    for _ in range(6):
        if fork(spin) is None:
            start(spin)
    endless()


def start(action):
    """A thread, as long as there may be another one."""
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=action, daemon=True).start()


def endless():
    while True:
        pass
