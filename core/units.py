"""Exact quantities. No binary float decides a guarantee: epsilon, delta and rho are rationals (fractions.Fraction).

A decimal literal means itself ("0.3" is 3/10). Text form in files, database and log: a decimal where one exists with at most
20 fraction digits, else "p/q".
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from core.errors import Invalid

_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?|[0-9](\.[0-9]{1,20})?[eE]-[0-9]{1,2}")
_RATIO = re.compile(r"[0-9]{1,400}/[1-9][0-9]{0,400}")
MAX_EPSILON = Fraction(100)


def exact(value: str | float | Decimal | Fraction) -> Fraction:
    """The rational that `value` denotes.

    A float is taken by its shortest decimal form (0.3 means 3/10), as people who write YAML or JSON mean it. Raises ValueError
    for anything but a non-negative finite number of ordinary size.
    """
    if isinstance(value, Fraction) and value >= 0:
        return value
    text = value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
    text = text.strip()
    if _RATIO.fullmatch(text):
        numerator, denominator = text.split("/")
        return Fraction(int(numerator), int(denominator))
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a non-negative decimal number of ordinary size")
    return Fraction(text)


def text_of(value: Fraction) -> str:
    """The canonical text of a rational; `exact(text_of(x)) == x` for every non-negative x."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > 20 or value >= 10**6:
        return f"{value.numerator}/{value.denominator}"
    if places == 0:
        return str(value.numerator)
    scaled = value.numerator * 10**places // value.denominator
    digits = str(scaled).rjust(places + 1, "0")
    return f"{digits[:-places]}.{digits[-places:]}"


def epsilon_of(value: str | float | Decimal | Fraction, field: str = "epsilon") -> Fraction:
    """A privacy loss that a person asked for: 0 < ε ≤ 100. Raises Invalid (`epsilon.invalid`) naming `field`."""
    try:
        found = exact(value)
    except ValueError:
        found = Fraction(0)
    if not 0 < found <= MAX_EPSILON:
        raise Invalid(
            "epsilon.invalid",
            f"{field} must be a number above 0 and at most {MAX_EPSILON}, such as 0.5",
            where={"field": field},
        )
    return found


def delta_of(value: str | float | Decimal | Fraction, field: str = "delta") -> Fraction:
    """A failure probability: 0 ≤ δ < 1/1000. Raises Invalid (`delta.invalid`) naming `field`."""
    try:
        found = exact(value)
    except ValueError:
        found = Fraction(1)
    if not 0 <= found < Fraction(1, 1000):
        raise Invalid(
            "delta.invalid",
            f"{field} must be a number from 0 to below 0.001, such as 1e-9",
            where={"field": field},
        )
    return found
