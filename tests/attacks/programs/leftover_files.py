"""Leaves files wherever it can, and looks for those of the block before."""

import os

from attacker import hits, works

ROWS = (21, 34)
PEER_FAULT = "T11"
CONTROL = "a tmpfs of its own each block; nothing else can be written; no /dev/shm"

PLACES = ("/tmp", "/dev/shm", "/dev/mqueue", "/var/tmp", "/run", "/blocks", "/blocks/0", "/", ".", "/banyan", "/tmp/..")


def before(tables, params):
    for folder in PLACES:
        works(lambda f=folder: open(f"{f}/secret", "wb"))


def analyse(tables, params):
    return hits(*(os.path.exists(f"{folder}/secret") for folder in PLACES), len(os.listdir("/tmp")) > 0)
