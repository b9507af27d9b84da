"""Dates and timestamps: parts, starts of whole units, distances. All of them exist for every day of the years 1 to 9999."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from privacy.sql.ends import subtracted
from privacy.sql.facts import Facts, Unfit, number, origin
from privacy.sql.functions.calendar import (
    MICROSECONDS,
    MONTHS,
    PARTS,
    SHORT,
    index_in,
    month_of,
    start_of,
)
from privacy.sql.functions.forms import any_nullable
from privacy.sql.functions.record import Args, Function, Texts, null_safe
from privacy.sql.functions.strings import constant_text
from privacy.sql.held import DAY_MICROSECONDS, Kind

UNITS = (*MICROSECONDS, *MONTHS)


def dated(facts: Facts, name: str) -> None:
    """Raises Unfit where an argument is no date."""
    if facts.kind not in (Kind.DAY, Kind.MOMENT):
        raise Unfit(
            f"{name} takes a date or a timestamp, not a {facts.kind}", "write DATE '2020-01-31', or CAST(s AS DATE)"
        )


def unit_of(args: Args, name: str, units: tuple[str, ...]) -> str:
    """The unit that is written, where the dates among the arguments have it."""
    unit = constant_text(args[0], name, "the unit")
    if unit not in units:
        raise Unfit(f"{name} does not know this unit", f"use one of {', '.join(units)}")
    if unit in SHORT and any(arg.kind is Kind.DAY for arg in args):
        raise Unfit(f"a date has no {unit}", "CAST it to a TIMESTAMP first")
    return unit


def day_and_time(kind: Kind) -> Callable[[int], tuple[int, int]]:
    """From a held value its day and the microsecond in it."""
    if kind is Kind.DAY:
        return lambda value: (value, 0)
    return lambda value: divmod(value, DAY_MICROSECONDS)


def joined(day: int, at: int, kind: Kind) -> int:
    """The held value of a day and a microsecond in it."""
    return day if kind is Kind.DAY else day * DAY_MICROSECONDS + at


def as_duckdb(text: str, facts: Facts) -> str:
    """DuckDB's DATE or TIMESTAMP of a held value."""
    return f"(DATE '1970-01-01' + {text})" if facts.kind is Kind.DAY else f"make_timestamp({text})"


def as_held(text: str, facts: Facts) -> str:
    """The held value of DuckDB's DATE or TIMESTAMP."""
    if facts.kind is Kind.DAY:
        return f"CAST(CAST({text} AS DATE) - DATE '1970-01-01' AS INTEGER)"
    return f"epoch_us({text})"


def _part_facts(args: Args) -> Facts:
    dated(args[1], "EXTRACT")
    unit = unit_of(args, "EXTRACT", tuple(PARTS))
    part, ends = PARTS[unit]
    (first, at_first), (last, at_last) = map(day_and_time(args[1].kind), args[1].ends)
    # A part does not fall while the next larger one stays: years never do.
    if unit == "year" or (unit in MONTHS and month_of(first) // 12 == month_of(last) // 12):
        ends = part(first, at_first), part(last, at_last)
    return number(ends, 0, nullable=args[1].nullable, of=args[1:])


def _part_sql(texts: Texts, args: Args, _result: Facts) -> str:
    # DuckDB gives a part of NULL as written the type DOUBLE.
    return f"CAST(date_part('{unit_of(args, 'EXTRACT', tuple(PARTS))}', {as_duckdb(texts[1], args[1])}) AS BIGINT)"


def _part_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    part, split = PARTS[unit_of(args, "EXTRACT", tuple(PARTS))][0], day_and_time(args[1].kind)
    return null_safe(lambda _unit, value: part(*split(value)))


def _start(args: Args) -> Callable[[int], int]:
    unit, kind = unit_of(args, "DATE_TRUNC", UNITS), args[1].kind
    split = day_and_time(kind)
    return lambda value: joined(*start_of(unit, *split(value)), kind)


def _start_facts(args: Args) -> Facts:
    dated(args[1], "DATE_TRUNC")
    start, (low, high) = _start(args), args[1].ends
    # The first day that there is begins a year and a week.
    return Facts(args[1].kind, 0, start(low), start(high), nullable=args[1].nullable, **origin(args[1:]))


def _start_sql(texts: Texts, args: Args, _result: Facts) -> str:
    return as_held(f"date_trunc('{unit_of(args, 'DATE_TRUNC', UNITS)}', {as_duckdb(texts[1], args[1])})", args[1])


def _start_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    start = _start(args)
    return null_safe(lambda _unit, value: start(value))


def _distance(args: Args) -> tuple[Callable[[int], int], Callable[[int], int]]:
    unit = unit_of(args, "DATE_DIFF", UNITS)
    first, second = day_and_time(args[1].kind), day_and_time(args[2].kind)
    return lambda value: index_in(unit, *first(value)), lambda value: index_in(unit, *second(value))


def _distance_facts(args: Args) -> Facts:
    for arg in args[1:]:
        dated(arg, "DATE_DIFF")
    first, second = (tuple(map(index, arg.ends)) for index, arg in zip(_distance(args), args[1:], strict=True))
    ends = subtracted((second[0], second[1]), (first[0], first[1]))
    return number(ends, 0, nullable=any_nullable(args[1:]), of=args[1:])


def _distance_sql(texts: Texts, args: Args, _result: Facts) -> str:
    unit = unit_of(args, "DATE_DIFF", UNITS)
    # Both as timestamps: there is one rule then for a date beside a timestamp.
    first, second = (
        f"CAST({as_duckdb(text, arg)} AS TIMESTAMP)" for text, arg in zip(texts[1:], args[1:], strict=True)
    )
    if unit == "week":  # DuckDB's own count of weeks is not that of Mondays
        return f"(date_diff('day', date_trunc('week', {first}), date_trunc('week', {second})) // 7)"
    return f"date_diff('{unit}', {first}, {second})"


def _distance_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    first, second = _distance(args)
    return null_safe(lambda _unit, start, end: second(end) - first(start))


DATES = (
    Function(
        "date_part",
        (2, 2),
        "EXTRACT(year FROM d)",
        f"A part as a whole number: {', '.join(PARTS)}. Weeks are those of ISO 8601; dow counts from Sunday = 0.",
        _part_facts,
        _part_sql,
        _part_meaning,
    ),
    Function(
        "date_trunc",
        (2, 2),
        "DATE_TRUNC('month', d)",
        f"The start of the unit it is in: {', '.join(UNITS)}. Of a date it is a date.",
        _start_facts,
        _start_sql,
        _start_meaning,
    ),
    Function(
        "date_diff",
        (3, 3),
        "DATE_DIFF('day', d, DATE '2020-12-31')",
        f"How many starts of a unit ({', '.join(UNITS)}) lie between the first and the second; below 0 where the second is earlier.",
        _distance_facts,
        _distance_sql,
        _distance_meaning,
    ),
)
