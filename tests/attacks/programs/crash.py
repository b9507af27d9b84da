"""Reads from address 0."""

import ctypes

ROWS = ("R11 failure",)
CONTROL = "a block that crashes is its default; no core is dumped"
ENDS = "fails"


def analyse(tables, params):
    ctypes.string_at(0)
