"""Opens devices: disks, memory, the kernel's log, terminals, KVM."""

import os

from attacker import hits, names, works

ROWS = (20,)
GVISOR = "devices that gVisor makes up for its sandbox: none of them is the machine's"
CONTROL = "no devices but the harmless ones; tmpfs is nodev; no capability to make any"

HARMLESS = {
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "fd",
    "stdin",
    "stdout",
    "stderr",
    "core",
    "shm",
    "mqueue",
    "pts",
    "ptmx",
    "tty",
    "console",
}


def analyse(tables, params):
    wanted = (
        "mem",
        "kmem",
        "port",
        "kmsg",
        "kvm",
        "fuse",
        "vda",
        "sda",
        "loop0",
        "net/tun",
        "userfaultfd",
        "ptmx",
        "tty",
        "pts/0",
        "console",
    )
    allowed = set() if params["tier"] == "zygote" else {"ptmx", "tty"}
    return hits(
        set(names("/dev")) - HARMLESS,
        any(
            works(lambda n=name: os.close(os.open(f"/dev/{n}", os.O_RDWR | os.O_NONBLOCK)))
            for name in wanted
            if name not in allowed
        ),
    )
