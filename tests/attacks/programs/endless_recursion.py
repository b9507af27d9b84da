"""Overflows the stack, in Python and in C."""

import sys

ROWS = ("R11 failure",)
CONTROL = "a block that crashes is its default"
ENDS = "fails"


def analyse(tables, params):
    sys.setrecursionlimit(1 << 30)

    def deeper(held):
        return deeper([held])

    return deeper([])
