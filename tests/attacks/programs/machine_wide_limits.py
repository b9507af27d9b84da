"""Uses up what the kernel counts for a user on the whole machine, where a container beside this one would feel it."""

import fcntl
import os
import socket

from attacker import hits, let_through, pipes, works

ROWS = ("R11 counters",)
CONTROL = "second seccomp filter: no pipe, socketpair, inotify; no fcntl that makes a pipe larger"

SET_PIPE_SIZE, SET_LEASE, NOTIFY = 1031, 1024, 1026


def analyse(tables, params):
    def larger():
        fcntl.fcntl(pipes()[0], SET_PIPE_SIZE, 1 << 17)

    def in_flight():
        one, other = socket.socketpair()
        socket.send_fds(one, [b"x"], [0])
        other.close()

    folder = os.open("/tmp", os.O_RDONLY)
    return hits(
        works(larger),
        works(in_flight),
        let_through(294, 0),
        works(lambda: fcntl.fcntl(folder, SET_LEASE, fcntl.F_RDLCK)),
        works(lambda: fcntl.fcntl(folder, NOTIFY, 1)),
    )
