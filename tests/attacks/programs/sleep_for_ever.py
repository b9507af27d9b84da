"""Sleeps: takes no processor time and never ends."""

import time

ROWS = (27,)
CONTROL = "the slot's end: killed whatever it did"
ENDS = "fails"


def analyse(tables, params):
    time.sleep(3600)
