"""Ignores every signal that can be ignored, blocks the rest, and spins."""

import signal

ROWS = (28,)
CONTROL = "SIGKILL from outside of the block's pid namespace"
ENDS = "fails"


def analyse(tables, params):
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        pass
