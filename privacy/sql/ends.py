"""Between which ends the result of an operation on whole numbers lies, from the ends of its operands; all inclusive, all exact."""

from __future__ import annotations

Interval = tuple[int, int]


def fits(interval: Interval, bits: int) -> bool:
    """Whether every number of the interval, and its negative, is below 2^bits."""
    return -(1 << bits) < interval[0] and interval[1] < 1 << bits


def hull(*all_: Interval) -> Interval:
    """The smallest interval around all."""
    return min(low for low, _ in all_), max(high for _, high in all_)


def added(a: Interval, b: Interval) -> Interval:
    """Of x + y."""
    return a[0] + b[0], a[1] + b[1]


def subtracted(a: Interval, b: Interval) -> Interval:
    """Of x - y."""
    return a[0] - b[1], a[1] - b[0]


def negated(a: Interval) -> Interval:
    """Of -x."""
    return -a[1], -a[0]


def multiplied(a: Interval, b: Interval) -> Interval:
    """Of x * y."""
    products = [x * y for x in a for y in b]
    return min(products), max(products)


def absolute(a: Interval) -> Interval:
    """Of |x|."""
    least = 0 if a[0] <= 0 <= a[1] else min(abs(a[0]), abs(a[1]))
    return least, max(abs(a[0]), abs(a[1]))


def greatest(a: Interval, b: Interval) -> Interval:
    """Of the greater of x and y."""
    return max(a[0], b[0]), max(a[1], b[1])


def least(a: Interval, b: Interval) -> Interval:
    """Of the smaller of x and y."""
    return min(a[0], b[0]), min(a[1], b[1])


def rescaled(a: Interval, digits: int) -> Interval:
    """Of x on a grid finer by so many (not negative) digits."""
    return a[0] * 10**digits, a[1] * 10**digits


def divided(a: Interval, b: Interval) -> Interval | None:
    """Around x / y for whole y that are not 0, rounded in whatever direction; None where y is always 0."""
    # x / y is monotone in y on either side of 0, so its ends lie at the ends of what y can be there.
    divisors = {y for y in (*b, 1, -1) if y != 0 and b[0] <= y <= b[1]}
    if not divisors:
        return None
    floors = [x // y for x in a for y in divisors]
    ceilings = [-(-x // y) for x in a for y in divisors]
    return min(floors), max(ceilings)
