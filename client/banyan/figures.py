"""Decides how numbers are written for people: never more digits than they carry, and never a privacy loss rounded down."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

_EXACT = Context(prec=60)
_DIGITS = 4
UP, DOWN, NEAREST = ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN


def decimal_of(value: Any) -> Decimal | None:
    """The number that a JSON number, a decimal text or a `p/q` text denotes; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, str) and "/" in value:
            ratio = Fraction(value)
            return _EXACT.divide(Decimal(ratio.numerator), Decimal(ratio.denominator))
        found = Decimal(str(value))
    except (InvalidOperation, ValueError, ZeroDivisionError):
        return None
    return found if found.is_finite() else None


def amount(value: Any, rounding: str = NEAREST) -> str:
    """A quantity such as ε in at most four digits (`0.5`, `1e-8`, `3.333`), rounded the way asked."""
    found = decimal_of(value)
    if found is None:
        return "–" if value is None else str(value)
    if found == 0:
        return "0"
    places = max(found.adjusted() - _DIGITS + 1, -99)
    found = _quantized(found, min(places, 0) if abs(found) >= 1 else places, rounding)
    if abs(found) < Decimal("0.001"):
        digits, exponent = f"{found:e}".split("e")
        return f"{_trimmed(digits)}e{int(exponent)}"
    return _trimmed(f"{found:,f}")


def count(value: Any) -> str:
    """A whole number with thousands separated."""
    found = decimal_of(value)
    return amount(value) if found is None or found != found.to_integral_value() else f"{int(found):,}"


def half_width(value: Any) -> str:
    """`± 110`: two digits, rounded up."""
    found = decimal_of(value)
    if found is None:
        return "unknown"
    if found == 0:
        return "none"
    return "± " + _written(found, found.adjusted() - 1, UP)


def with_interval(value: Any, low: Any, high: Any) -> str:
    """`19,930 ± 110`, or `14.2 [12.9, 16.8]` where the interval is lopsided."""
    middle, bottom, top = decimal_of(value), decimal_of(low), decimal_of(high)
    if middle is None:
        return "–" if value is None else str(value)
    if bottom is None or top is None or bottom == top:
        return count(value)
    above, below = top - middle, middle - bottom
    wide, narrow = max(above, below), min(above, below)
    place = wide.adjusted() - 1
    if wide - narrow > wide / 10:
        return f"{_written(middle, place)} [{_written(bottom, place, DOWN)}, {_written(top, place, UP)}]"
    return f"{_written(middle, place)} ± {_written(wide, place, UP)}"


def memory(value: Any) -> str:
    """Bytes as `0.6 GiB`."""
    found = decimal_of(value)
    return "–" if found is None else f"{amount(_quantized(found / 2**30, -1, UP))} GiB"


def seconds_up(value: Decimal) -> Decimal:
    """A time rounded up: hundredths of a second below 1 s, tenths below 10 s, whole seconds above; at least 0.01 s."""
    return max(_quantized(value, -2 if value < 1 else -1 if value < 10 else 0, UP), Decimal("0.01"))


def mebibytes(value: Any) -> str:
    """Bytes that may be taken as `704 MiB`, rounded down."""
    found = decimal_of(value)
    return "–" if found is None else f"{count((found / 2**20).to_integral_value(DOWN))} MiB"


def _quantized(value: Decimal, place: int, rounding: str) -> Decimal:
    return value.quantize(Decimal(1).scaleb(place), rounding=rounding, context=_EXACT)


def _written(value: Decimal, place: int, rounding: str = NEAREST) -> str:
    rounded = _quantized(value, place, rounding) + 0  # adding zero makes -0 plain 0
    return f"{rounded:,.{max(0, -place)}f}"


def _trimmed(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
