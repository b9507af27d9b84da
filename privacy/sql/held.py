"""How a value is held while it is computed with: a number as whole steps of its grid, a date as days, a moment as microseconds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from privacy.sql.expressions import Value

Held = bool | int | str | None

EPOCH_DAY = date(1970, 1, 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY_MICROSECONDS = 86_400_000_000


class Kind(StrEnum):
    """What a value is. NOTHING is the kind of NULL as written, which fits any other."""

    NUMBER = "number"
    TEXT = "text"
    TRUTH = "truth"
    DAY = "date"
    MOMENT = "timestamp"
    NOTHING = "null"


def held(value: Value, kind: Kind, scale: int = 0) -> Held:
    """A value as it is computed with. Raises ValueError where it is not of the kind, or does not lie on the grid."""
    if value is None:
        return None
    if kind is Kind.NUMBER and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return steps(value, scale)
    if kind is Kind.MOMENT and isinstance(value, datetime) and value.tzinfo is not None:
        return (value - EPOCH) // MICROSECOND
    if kind is Kind.DAY and isinstance(value, date) and not isinstance(value, datetime):
        return (value - EPOCH_DAY).days
    if (kind is Kind.TRUTH and isinstance(value, bool)) or (kind is Kind.TEXT and isinstance(value, str)):
        return value
    raise ValueError(f"this is no {kind}")


def shown(value: Held, kind: Kind, scale: int = 0) -> Value:
    """The inverse of `held`: whole numbers as int, others as Decimal with exactly `scale` digits."""
    if value is None or isinstance(value, str) or kind is Kind.TRUTH:
        return value
    if kind is Kind.DAY:
        return EPOCH_DAY + timedelta(days=value)
    if kind is Kind.MOMENT:
        return EPOCH + value * MICROSECOND
    if scale == 0:
        return int(value)
    # Built from digits: arithmetic of Decimal would round to the context's 28.
    return Decimal((int(value < 0), tuple(map(int, str(abs(value)))), -scale))


def steps(value: int | Decimal, scale: int) -> int:
    """A number as whole steps of 10^-scale. Raises ValueError where it lies between two of them."""
    if isinstance(value, int):
        grown: int = value * 10**scale
        return int(grown)
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or abs(exponent) > 1_000:
        raise ValueError("this is no number that can be held")
    whole, rest = int("".join(map(str, digits))), exponent + scale
    if rest < 0:
        whole, left = divmod(whole, 10**-rest)
        if left:
            raise ValueError(f"the number has more than {scale} decimal digits")
    if rest > 0:
        whole *= 10**rest
    return -whole if sign else whole


def digits_of(value: Decimal) -> int:
    """Decimal digits without zeros at the end: 100.00 has none. Raises ValueError for what is no finite number."""
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > 1_000:
        raise ValueError("this is no number that can be held")
    digits, whole = max(0, -exponent), steps(value, max(0, -exponent))
    while digits and whole % 10 == 0:
        digits, whole = digits - 1, whole // 10
    return digits
