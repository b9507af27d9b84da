"""Takes a better priority, gives others a worse one, sets the clock and the host's name."""

import ctypes
import os
import socket
import time

from attacker import hits, let_through, works

ROWS = (35,)
CONTROL = "no capability; seccomp: no call for any of it; uts namespace of its own"


def analyse(tables, params):
    return hits(
        works(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)),
        works(lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19)),
        works(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
        works(lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))),
        let_through(314, 0, ctypes.create_string_buffer(64), 0),
        let_through(251, 1, 0, 0),
        works(lambda: time.clock_settime(time.CLOCK_REALTIME, 0)),
        let_through(159, 0),
        works(lambda: socket.sethostname("hostile")),
    )
