"""CAST to DATE and TIMESTAMP: by our own grammar for texts, and NULL for what is in it but in no calendar."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from privacy.sql.facts import DAYS, MOMENTS, Facts, origin
from privacy.sql.functions.calendar import day_of
from privacy.sql.functions.casts import cannot_cast, cast, parsed_sql
from privacy.sql.functions.forms import grown
from privacy.sql.functions.record import Args, Texts, null_safe
from privacy.sql.held import DAY_MICROSECONDS, Kind, held

_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = _YEAR + r"-[0-9]{2}-[0-9]{2}"
_MOMENT = _DATE + r" ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"


def _day_facts(args: Args) -> Facts:
    source = args[0]
    if source.kind is Kind.DAY:
        return source
    if source.kind is Kind.MOMENT:
        low, high = map(day_of, source.ends)
        return Facts(Kind.DAY, 0, low, high, nullable=source.nullable, **origin(args))
    if source.kind is not Kind.TEXT:
        raise cannot_cast(source, "DATE")
    return Facts(Kind.DAY, 0, *DAYS, nullable=True, **origin(args))


def _day_sql(texts: Texts, args: Args, _result: Facts) -> str:
    if args[0].kind is Kind.DAY:
        return texts[0]
    found = (
        f"CAST(make_timestamp({texts[0]}) AS DATE)"
        if args[0].kind is Kind.MOMENT
        else parsed_sql(texts[0], _DATE, "DATE")
    )
    return f"CAST({found} - DATE '1970-01-01' AS INTEGER)"


def _day_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    def of_text(value: str) -> Any:
        return _parsed(value, _DATE, date.fromisoformat, Kind.DAY)

    return null_safe({Kind.DAY: lambda value: value, Kind.MOMENT: day_of}.get(args[0].kind, of_text))


def _parsed(value: str, grammar: str, of: Callable[[str], date], kind: Kind) -> Any:
    """The held value of a text in the grammar; NULL for another, and for a day that no month has."""
    try:
        return held(of(value), kind) if re.fullmatch(grammar, value) else None
    except ValueError:
        return None


def _moment_facts(args: Args) -> Facts:
    source = args[0]
    if source.kind is Kind.MOMENT:
        return source
    if source.kind is Kind.DAY:
        low, high = grown(source, DAY_MICROSECONDS)
        return Facts(Kind.MOMENT, 0, low, high, nullable=source.nullable, **origin(args))
    if source.kind is not Kind.TEXT:
        raise cannot_cast(source, "TIMESTAMP")
    return Facts(Kind.MOMENT, 0, *MOMENTS, nullable=True, **origin(args))


def _moment_sql(texts: Texts, args: Args, _result: Facts) -> str:
    if args[0].kind is Kind.MOMENT:
        return texts[0]
    if args[0].kind is Kind.DAY:
        return f"({texts[0]} * {DAY_MICROSECONDS})"
    return f"epoch_us({parsed_sql(texts[0], _MOMENT, 'TIMESTAMP')})"


def _moment_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    def of_text(value: str) -> Any:
        return _parsed(value, _MOMENT, _utc, Kind.MOMENT)

    ways = {Kind.MOMENT: lambda value: value, Kind.DAY: lambda value: value * DAY_MICROSECONDS}
    return null_safe(ways.get(args[0].kind, of_text))


def _utc(value: str) -> datetime:
    whole, _, rest = value.partition(".")
    return datetime.fromisoformat(whole).replace(microsecond=int(rest.ljust(6, "0") or "0"), tzinfo=UTC)


DATE_CASTS = (
    cast(
        "to_date",
        "CAST(t AS DATE)",
        "The day of a timestamp (UTC). A text is YYYY-MM-DD, else NULL.",
        _day_facts,
        _day_sql,
        _day_meaning,
    ),
    cast(
        "to_timestamp",
        "CAST(d AS TIMESTAMP)",
        "Midnight (UTC) of a date. A text is YYYY-MM-DD hh:mm:ss with up to 6 digits after a point, else NULL.",
        _moment_facts,
        _moment_sql,
        _moment_meaning,
    ),
)
