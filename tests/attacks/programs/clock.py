"""Spins through its slot or does nothing; the blocks after it read from the clock which it was."""

import time

ROWS = ("R11 clock",)
CONTROL = "a block starts at its slot's time and never earlier, whatever the blocks before it did"
TIERS = ("zygote",)
# Run twice: what the two later blocks say of the clock is compared.
OWN_TEST = True


def before(tables, params):
    while params["spin"]:
        pass


def analyse(tables, params):
    return {"hit": 0.0, "said": time.monotonic()}


def after(tables, params):
    return {"hit": 0.0, "said": time.monotonic()}
