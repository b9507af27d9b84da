"""Writes one byte too few, and ends well."""

import os

from attacker import pipes

ROWS = (37,)
CONTROL = "the supervisor believes the exact length only"
ENDS = "fails"


def analyse(tables, params):
    for number in pipes():
        os.write(number, b"x" * (params["vector_bytes"] - 1))
    os._exit(0)
