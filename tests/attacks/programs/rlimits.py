"""Raises its own limits, and takes those of others."""

import os
import resource

from attacker import hits, works

ROWS = (37,)
CONTROL = "hard limits, which only a capability can raise; a pid namespace each block"


def analyse(tables, params):
    def raised(kind):
        soft, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY:
            return False
        return works(lambda: resource.setrlimit(kind, (hard + 1, hard + 1)))

    kinds = (
        resource.RLIMIT_NPROC,
        resource.RLIMIT_AS,
        resource.RLIMIT_CPU,
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_CORE,
        resource.RLIMIT_FSIZE,
    )
    others = [pid for pid in {os.getppid(), 2, 3} if pid not in (0, 1, os.getpid())]
    return hits(
        *(raised(kind) for kind in kinds),
        resource.getrlimit(resource.RLIMIT_CORE)[1] != 0,
        any(
            works(lambda p=pid: resource.prlimit(p, resource.RLIMIT_NOFILE, (0, 0)))
            for pid in others
            if params["tier"] == "zygote"
        ),
    )
