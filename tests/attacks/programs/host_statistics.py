"""Reads what the whole machine is doing: load, memory, interrupts, uptime."""

import ctypes
import os

from attacker import call, hits, names, reads

ROWS = (20,)
GVISOR = "figures of the sandbox itself, which gVisor makes up: none of them is the machine's"
CONTROL = "seccomp: no sysinfo; no /proc and /sys in a block, masked ones in a container"

FILES = (
    "loadavg",
    "stat",
    "meminfo",
    "vmstat",
    "interrupts",
    "diskstats",
    "uptime",
    "softirqs",
    "zoneinfo",
    "pressure/cpu",
    "cpuinfo",
    "schedstat",
)


def loads():
    try:
        return os.getloadavg()
    except OSError:
        return None


def analyse(tables, params):
    return hits(
        call(99, ctypes.create_string_buffer(256)) >= 0,
        any(reads(f"/proc/{name}") for name in FILES),
        names("/sys"),
        loads() is not None,
    )
