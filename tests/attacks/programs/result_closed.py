"""Closes the result pipe, puts other things in its place, and returns as if nothing were."""

import os

from attacker import hits, pipes, works

ROWS = (37,)
CONTROL = "a block without its bytes is its default"
ENDS = "any"


def analyse(tables, params):
    for number in pipes():
        os.close(number)
        works(lambda n=number: os.dup2(0, n))
    return hits()
