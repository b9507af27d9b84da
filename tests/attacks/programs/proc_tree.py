"""Reads about other processes: environments, memory, mounts, the container's own name."""

import os

from attacker import hits, names, reads

ROWS = (19,)
PEER_FAULT = "T11"
CONTROL = "a block has no /proc; a container of its own holds no secret in any environment"

HARMLESS = {"PATH", "LANG", "LC_CTYPE", "HOME", "MPLCONFIGDIR", "PYTHONDONTWRITEBYTECODE", "HOSTNAME"}
SETTINGS = {"JE_ARROW_MALLOC_CONF", "_RJEM_MALLOC_CONF", "ARROW_DEFAULT_MEMORY_POOL", "POLARS_MAX_THREADS"}


def analyse(tables, params):
    variables = {name for name in os.environ if not name.endswith("_NUM_THREADS")} - HARMLESS - SETTINGS
    for pid in filter(str.isdigit, names("/proc")):
        if reads(f"/proc/{pid}/environ"):
            entries = open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
            variables |= {entry.partition(b"=")[0].decode() for entry in entries if entry} - HARMLESS - SETTINGS
    in_zygote = params["tier"] == "zygote"
    return hits(variables, in_zygote and names("/proc"), in_zygote and reads("/proc/self/mountinfo"))
