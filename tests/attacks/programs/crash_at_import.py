"""Does its harm before `analyse` is called: leaves the interpreter while the file is read."""

import os

ROWS = ("R11 failure",)
CONTROL = "the program's text runs in the block's own process, never in the supervisor"
ENDS = "fails"


def at_import():
    os._exit(0)


def analyse(tables, params):
    return {"hit": 1.0}
