"""What a literal in the text is worth: numbers in decimal, days and moments in ISO form, moments in UTC unless an offset is given."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation

from privacy.sql.held import digits_of, steps

_NUMBER = re.compile(r"[0-9]{0,40}\.?[0-9]{0,40}([eE][+-]?[0-9]{1,2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)? ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
_EXACT = Context(prec=200)


def written_number(words: str) -> int | Decimal | None:
    """A number as written, without zeros at its end; None where it is none that can be held."""
    if not _NUMBER.fullmatch(words):
        return None
    try:
        found = _EXACT.create_decimal(words)
        digits = digits_of(found)
    except (InvalidOperation, ValueError):
        return None
    whole = steps(found, digits)
    return whole if digits == 0 else Decimal((0, tuple(map(int, str(whole))), -digits))


def written_day(words: str) -> date | None:
    """A day such as 2013-06-30; None where the text is none."""
    if not _DAY.fullmatch(words):
        return None
    try:
        return date.fromisoformat(words)
    except ValueError:
        return None


def written_moment(words: str) -> datetime | None:
    """A moment such as 2013-06-30 12:00:00, in UTC; None where the text is none."""
    if not _MOMENT.fullmatch(words):
        return None
    try:
        found = datetime.fromisoformat(words.replace(" +", "+").replace(" -", "-").replace(" Z", "Z"))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
