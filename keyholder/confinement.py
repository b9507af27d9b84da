"""What a process gives up before it sees a secret key: core dumps, debuggers of the same user, and memory that can be swapped out."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
MCL_CURRENT_AND_FUTURE = 3


def close_doors() -> None:
    """No core dump, and no reading of this process's memory by others of its user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def lock_memory() -> None:
    """Keep every page out of the swap device, where the system lets us lock without limit.

    Under a limit, allocations beyond it would fail later in the middle of a decryption: then it is better not to lock at all.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    elif os.geteuid() != 0:
        return
    ctypes.CDLL(None).mlockall(MCL_CURRENT_AND_FUTURE)


def end_with_parent(parent: int) -> None:
    """Be killed when the process `parent` dies, also where it has died already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
