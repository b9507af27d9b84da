"""Sums of many 64-bit numbers that stay exact where 64 bits do not suffice: in two limbs, vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
LIMB_BITS = 31
_LOW = (1 << LIMB_BITS) - 1
# What saturates lies beyond every bound of a total (terms.LARGEST, 2^60).
_MOST_HIGH = 1 << LIMB_BITS


def limbs(values: Integers) -> tuple[Integers, Integers]:
    """High and low part: values = high · 2^31 + low, with low in [0, 2^31)."""
    return values >> LIMB_BITS, values & _LOW


def runs(values: Integers, starts: Integers) -> tuple[Integers, Integers]:
    """The limbs of the sum of each run of values, the n-th of which begins at `starts[n]`; low is again in [0, 2^31).

    Exact for values within ±2^62 and up to 2^31 of them.
    """
    high, low = (np.add.reduceat(part, starts) for part in limbs(values))
    return high + (low >> LIMB_BITS), low & _LOW


def saturated(high: Integers, low: Integers) -> Integers:
    """The numbers with these limbs where they lie within ±2^62; the nearer of about ±2^62 where they do not."""
    return (np.clip(high, -_MOST_HIGH, _MOST_HIGH - 1) << LIMB_BITS) + low


def by_place(values: Integers, place: Integers, count: int) -> list[int]:
    """For each place from 0 to `count` - 1 the sum of the values that have it. Exact as `runs` is."""
    high, low = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for found, part in zip((high, low), limbs(values), strict=True):
        np.add.at(found, place, part)
    return [(int(more) << LIMB_BITS) + int(less) for more, less in zip(high, low, strict=True)]


def squares_by_place(values: Integers, place: Integers, count: int) -> list[int]:
    """For each place the sum of the squares of the values that have it; exact for values within ±2^61."""
    high, low = limbs(values)
    parts = [by_place(part, place, count) for part in (high * high, high * low, low * low)]
    return [
        (twice << 2 * LIMB_BITS) + (once << LIMB_BITS + 1) + least for twice, once, least in zip(*parts, strict=True)
    ]
