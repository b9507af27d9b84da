"""Reads the rows of other blocks: by path, through parents, and through anything that looks like an Arrow file."""

import os

from attacker import hits, names, reads

ROWS = (21,)
PEER_FAULT = "T11"
CONTROL = (
    "a mount namespace each block, without any block's files; in the tier container only its own folder is mounted"
)


def analyse(tables, params):
    own = f"/blocks/{params['hostile']}"
    others = [f"/blocks/{number}" for number in range(8) if number != params["hostile"]]
    found = []
    for top in (
        "/block",
        "/blocks",
        "/mnt",
        "/srv",
        "/media",
        "/run",
        "/tmp",
        "/var",
        "/home",
        "/dev",
        "/old",
        "/oldroot",
        "/put_old",
    ):
        for folder, _, files in os.walk(top):
            found += [os.path.join(folder, name) for name in files if name.endswith((".arrow", ".parquet"))]
    return hits(
        any(names(folder) for folder in others),
        any(reads(f"{folder}/people.arrow") for folder in others),
        any(reads(f"{own}/../{number}/people.arrow") for number in range(8) if number != params["hostile"]),
        any(not path.startswith(own + "/") for path in found),
        any(
            names(os.path.join("/proc", pid, "root", "blocks", "0"))
            for pid in ("1", "self", "2", "3")
            if params["hostile"] != 0
        ),
    )
