"""Knocks at the parts of a kernel that exploits come through: bpf, userfaultfd, perf, memfd_secret and their like."""

from attacker import hits, let_through

ROWS = (24,)
CONTROL = "seccomp: an allow-list of what Python and its libraries need"

DOORS = {
    "bpf": 321, "userfaultfd": 323, "perf_event_open": 298, "memfd_secret": 447, "memfd_create": 319, "modify_ldt": 154, "iopl": 172,
    "ioperm": 173, "kexec_load": 246, "init_module": 175, "finit_module": 313, "fanotify_init": 300, "inotify_init1": 294, "quotactl": 179,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "personality": 135, "swapon": 167, "reboot": 169, "syslog": 103, "acct": 163,
    "nfsservctl": 180, "mbind": 237, "move_pages": 279, "landlock_create_ruleset": 444, "vmsplice": 278, "tee": 276, "splice": 275, "userfs_syslog": 212,
    "lsm_list_modules": 461, "set_mempolicy": 238, "pkey_alloc": 330,
}  # fmt: skip


def analyse(tables, params):
    return hits(*(let_through(number, -1, -1, -1, -1, -1) for number in DOORS.values()))
