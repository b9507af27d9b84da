"""Finds the cluster that runs this block and calls an actor by its name."""

import glob
import importlib.util
import os

from attacker import hits

ROWS = ("Ray",)
PEER_FAULT = "T11"
CONTROL = "the image has no Ray; no token file, session folder or address of a cluster is visible"


def analyse(tables, params):
    return hits(
        importlib.util.find_spec("ray") is not None,
        any(name.startswith("RAY_") for name in os.environ),
        glob.glob("/tmp/ray/*") + glob.glob(os.path.join("/root", ".ray", "*")) + glob.glob("/home/*/.ray/*"),
    )
