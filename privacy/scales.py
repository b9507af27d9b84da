"""The grid on which noise scales and thresholds are chosen, and the search for the smallest that is accepted."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

# 12 significant bits: neighbours differ by less than 0.05 %, and every grid scale is a binary float without rounding, so
# that the scale on record is the very scale OpenDP draws with.
_STEPS = 2048

# Below one step of the integer grid the noise is so often zero that a release shows the exact number (peer fault T06).
SMALLEST_SCALE = Fraction(1)

# Values stay within 2^62 and OpenDP saturates at 2^63: at this scale noise would pass 2^62 with probability below e^-64,
# so intervals stay true.
LARGEST_SCALE = Fraction(2**56)

FIRST_INDEX = 0
LAST_INDEX = 56 * _STEPS


def scale_at(index: int) -> Fraction:
    """The scale at a position of the grid; it grows with the position. Index 0 is scale 1."""
    exponent, step = divmod(index, _STEPS)
    return Fraction((_STEPS + step) * 2**exponent, _STEPS)


def index_near(scale: float) -> int:
    """A position near `scale`, to begin a search from; it carries no promise."""
    if scale <= 1:
        return FIRST_INDEX
    mantissa, exponent = math.frexp(scale)
    return min((exponent - 1) * _STEPS + math.floor((2 * mantissa - 1) * _STEPS), LAST_INDEX)


def smallest(accepts: Callable[[int], bool], guess: int, low: int, high: int) -> int | None:
    """The smallest n in [low, high] that `accepts`, which must stay true once true; None where it never is.

    It gallops from `guess`, then halves, so that a good guess costs a handful of calls. Whatever `accepts` does, the
    number returned was itself accepted.
    """
    start = min(max(guess, low), high)
    bad, good = (low - 1, start) if accepts(start) else (start, high + 1)
    step = 1
    while bad == low - 1 and good > low:
        trial = max(low, good - step)
        bad, good = (bad, trial) if accepts(trial) else (trial, good)
        step *= 2
    while good == high + 1 and bad < high:
        trial = min(high, bad + step)
        bad, good = (bad, trial) if accepts(trial) else (trial, good)
        step *= 2
    if good == high + 1:
        return None
    while good - bad > 1:
        middle = (bad + good) // 2
        bad, good = (bad, middle) if accepts(middle) else (middle, good)
    return good
