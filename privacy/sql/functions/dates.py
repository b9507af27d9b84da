"""Dates and timestamps: parts, whole units, distances and shifts; what leaves the years 1 to 9999 is NULL.

DuckDB raises for a date out of range, so every shift is of an argument that was first moved to where the result exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from privacy.sql.ends import Interval, added, fits, hull, subtracted
from privacy.sql.facts import MOMENTS, SMALL_BITS, Facts, Unfit, number, origin
from privacy.sql.functions.calendar import (
    FIRST_MONTH,
    LAST_MONTH,
    MICROSECONDS,
    MONTHS,
    PARTS,
    SHORT,
    calendar_ends,
    first_day,
    index_in,
    last_day,
    month_of,
    months_later,
    start_of,
)
from privacy.sql.functions.forms import any_nullable, constant
from privacy.sql.functions.record import Args, Function, Texts, null_safe
from privacy.sql.functions.strings import constant_text
from privacy.sql.held import DAY_MICROSECONDS, Kind

_UNITS = (*MICROSECONDS, *MONTHS)
_FIRST_MONDAY = 10_959  # 2000-01-03, where DuckDB's buckets start
_YEAR_2000 = 12 * 2000


def _dated(facts: Facts, name: str) -> None:
    if facts.kind not in (Kind.DAY, Kind.MOMENT):
        raise Unfit(
            f"{name} takes a date or a timestamp, not a {facts.kind}", "write DATE '2020-01-31', or CAST(s AS DATE)"
        )


def _unit(args: Args, name: str, units: tuple[str, ...]) -> str:
    """The unit that is written, where the dates among the arguments have it."""
    unit = constant_text(args[0], name, "the unit")
    if unit not in units:
        raise Unfit(f"{name} does not know this unit", f"use one of {', '.join(units)}")
    if unit in SHORT and any(arg.kind is Kind.DAY for arg in args):
        raise Unfit(f"a date has no {unit}", "CAST it to a TIMESTAMP first")
    return unit


def _split(kind: Kind) -> Callable[[int], tuple[int, int]]:
    """From a held value its day and the microsecond in it."""
    if kind is Kind.DAY:
        return lambda value: (value, 0)
    return lambda value: divmod(value, DAY_MICROSECONDS)


def _joined(day: int, at: int, kind: Kind) -> int:
    return day if kind is Kind.DAY else day * DAY_MICROSECONDS + at


def _read(text: str, facts: Facts) -> str:
    """DuckDB's DATE or TIMESTAMP of a held value."""
    return f"(DATE '1970-01-01' + {text})" if facts.kind is Kind.DAY else f"make_timestamp({text})"


def _hold(text: str, facts: Facts) -> str:
    """The held value of DuckDB's DATE or TIMESTAMP."""
    if facts.kind is Kind.DAY:
        return f"CAST(CAST({text} AS DATE) - DATE '1970-01-01' AS INTEGER)"
    return f"epoch_us({text})"


def _moved(text: str, ends: Interval, kind: Kind, safe: Interval, of: Callable[[str], str]) -> str:
    """`of` a value with these ends, NULL where it is not within `safe`."""
    if safe[0] <= ends[0] and ends[1] <= safe[1]:
        return of(text)
    # A CASE promises nothing about what is computed inside it, so the argument itself is moved to where `of` cannot fail.
    moved = f"least(greatest({text}, {safe[0]}), {safe[1]})"
    if kind is Kind.DAY:
        moved = f"CAST({moved} AS INTEGER)"
    return f"(CASE WHEN {text} BETWEEN {safe[0]} AND {safe[1]} THEN {of(moved)} END)"


def _part_facts(args: Args) -> Facts:
    _dated(args[1], "EXTRACT")
    unit = _unit(args, "EXTRACT", tuple(PARTS))
    part, ends = PARTS[unit]
    (first, at_first), (last, at_last) = map(_split(args[1].kind), args[1].ends)
    # A part does not fall while the next larger one stays: years never do.
    if unit == "year" or (unit in MONTHS and month_of(first) // 12 == month_of(last) // 12):
        ends = part(first, at_first), part(last, at_last)
    return number(ends, 0, nullable=args[1].nullable, of=args[1:])


def _part_sql(texts: Texts, args: Args, _result: Facts) -> str:
    return f"date_part('{_unit(args, 'EXTRACT', tuple(PARTS))}', {_read(texts[1], args[1])})"


def _part_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    part, split = PARTS[_unit(args, "EXTRACT", tuple(PARTS))][0], _split(args[1].kind)
    return null_safe(lambda _unit, value: part(*split(value)))


def _start(args: Args) -> Callable[[int], int]:
    unit, kind = _unit(args, "DATE_TRUNC", _UNITS), args[1].kind
    split = _split(kind)
    return lambda value: _joined(*start_of(unit, *split(value)), kind)


def _start_facts(args: Args) -> Facts:
    _dated(args[1], "DATE_TRUNC")
    start, (low, high) = _start(args), args[1].ends
    # The first day that there is begins a year and a week.
    return Facts(args[1].kind, 0, start(low), start(high), nullable=args[1].nullable, **origin(args[1:]))


def _start_sql(texts: Texts, args: Args, _result: Facts) -> str:
    return _hold(f"date_trunc('{_unit(args, 'DATE_TRUNC', _UNITS)}', {_read(texts[1], args[1])})", args[1])


def _start_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    start = _start(args)
    return null_safe(lambda _unit, value: start(value))


def _distance(args: Args) -> tuple[Callable[[int], int], Callable[[int], int]]:
    unit = _unit(args, "DATE_DIFF", _UNITS)
    first, second = _split(args[1].kind), _split(args[2].kind)
    return lambda value: index_in(unit, *first(value)), lambda value: index_in(unit, *second(value))


def _distance_facts(args: Args) -> Facts:
    for arg in args[1:]:
        _dated(arg, "DATE_DIFF")
    first, second = (tuple(map(index, arg.ends)) for index, arg in zip(_distance(args), args[1:], strict=True))
    ends = subtracted((second[0], second[1]), (first[0], first[1]))
    return number(ends, 0, nullable=any_nullable(args[1:]), of=args[1:])


def _distance_sql(texts: Texts, args: Args, _result: Facts) -> str:
    unit = _unit(args, "DATE_DIFF", _UNITS)
    # Both as timestamps: there is one rule then for a date beside a timestamp.
    first, second = (f"CAST({_read(text, arg)} AS TIMESTAMP)" for text, arg in zip(texts[1:], args[1:], strict=True))
    if unit == "week":  # DuckDB's own count of weeks is not that of Mondays
        return f"(date_diff('day', date_trunc('week', {first}), date_trunc('week', {second})) // 7)"
    return f"date_diff('{unit}', {first}, {second})"


def _distance_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    first, second = _distance(args)
    return null_safe(lambda _unit, start, end: second(end) - first(start))


def _steps(args: Args) -> int | None:
    """Of a shift by a fixed length: its length in steps of the held form; None for a shift by months."""
    unit = _unit(args, "DATE_ADD", _UNITS)
    if unit in MONTHS:
        return None
    return MICROSECONDS[unit] if args[1].kind is Kind.MOMENT else MICROSECONDS[unit] // DAY_MICROSECONDS


def _shift_facts(args: Args) -> Facts:
    _dated(args[1], "DATE_ADD")
    steps, kind = _steps(args), args[1].kind
    calendar = calendar_ends(kind)
    if steps is None:
        safe, months = _safe_months(args)
        (first, _), (last, _) = (_split(kind)(min(max(end, safe[0]), safe[1])) for end in args[1].ends)
        # A time of day is kept, so within one day later moments can come before earlier ones: whole days are taken.
        low = _joined(months_later(first, months), 0, kind)
        high = _joined(months_later(last, months), DAY_MICROSECONDS - 1, kind)
        inside = safe[0] <= args[1].ends[0] and args[1].ends[1] <= safe[1]
    else:
        low, high = added(args[1].ends, _shifts(args, steps))
        inside = calendar[0] <= low and high <= calendar[1]
        low, high = max(low, calendar[0]), min(high, calendar[1])
    if low > high or (steps is None and not _meet(args[1].ends, _safe_months(args)[0])):
        raise Unfit("the result is never within the years 1 to 9999", "shift by less")
    nullable = any_nullable(args[1:]) or not inside
    return Facts(kind, 0, low, high, nullable=nullable, **origin(args[1:]))


def _meet(a: Interval, b: Interval) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _shifts(args: Args, steps: int) -> Interval:
    """The ends of the shift, in steps of the held form."""
    count = args[2]
    if count.kind is not Kind.NUMBER or count.scale:
        raise Unfit("a date is shifted by whole numbers", "FLOOR or ROUND the number first")
    ends = count.ends[0] * steps, count.ends[1] * steps
    if not fits(hull(ends, added(args[1].ends, ends)), SMALL_BITS):
        raise Unfit(
            "the shift could be too long", "bound it first, such as LEAST(GREATEST(n, 0), 1000)", "sql.too_wide"
        )
    return ends


def _safe_months(args: Args) -> tuple[Interval, int]:
    """Where the argument must be for the result to exist, and by how many months it is shifted."""
    unit = _unit(args, "DATE_ADD", _UNITS)
    months = constant(args[2], "DATE_ADD", f"the {unit}s") * MONTHS[unit]
    if abs(months) >= LAST_MONTH - FIRST_MONTH:
        raise Unfit("the result is never within the years 1 to 9999", "shift by less")
    first = first_day(max(FIRST_MONTH, FIRST_MONTH - months))
    last = last_day(min(LAST_MONTH, LAST_MONTH - months))
    kind = args[1].kind
    return (_joined(first, 0, kind), _joined(last, DAY_MICROSECONDS - 1, kind)), months


def _shift_sql(texts: Texts, args: Args, result: Facts) -> str:
    steps = _steps(args)
    if steps is None:
        safe, months = _safe_months(args)
        return _moved(
            texts[1],
            args[1].ends,
            args[1].kind,
            safe,
            lambda text: _hold(f"({_read(text, args[1])} + to_months({months}))", args[1]),
        )
    count = texts[2] if steps == 1 else f"({texts[2]} * {steps})"
    total, ends = f"({texts[1]} + {count})", added(args[1].ends, _shifts(args, steps))
    moved = _moved(total, ends, result.kind, calendar_ends(result.kind), lambda text: text)
    return f"CAST({moved} AS INTEGER)" if result.kind is Kind.DAY else moved


def _shift_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    kind, steps = args[1].kind, _steps(args)
    low, high = calendar_ends(kind)
    if steps is not None:

        def shifted(_unit: str, value: int, count: int) -> int | None:
            later = value + count * steps
            return later if low <= later <= high else None

        return null_safe(shifted)
    safe, months = _safe_months(args)
    split = _split(kind)

    def in_another_month(_unit: str, value: int, _count: int) -> int | None:
        if not safe[0] <= value <= safe[1]:
            return None
        day, at = split(value)
        return _joined(months_later(day, months), at, kind)

    return null_safe(in_another_month)


def _bucket(args: Args) -> tuple[int, bool]:
    """The width in months or in steps of the held form, and whether it is in months."""
    unit = _unit((args[0], args[2]), "TIME_BUCKET", _UNITS)
    count = constant(args[1], "TIME_BUCKET", "the width")
    step = MICROSECONDS.get(unit, 0) // (1 if args[2].kind is Kind.MOMENT else DAY_MICROSECONDS)
    width, longest = (count * step, MOMENTS[1]) if step else (count * MONTHS[unit], LAST_MONTH)
    if not 0 < width <= longest:
        raise Unfit("TIME_BUCKET needs a width above 0, and within the calendar", "write INTERVAL '7' DAY")
    return width, not step


def _bucket_start(args: Args) -> Callable[[int], int | None]:
    """Buckets of months start at 2000-01-01, others at the Monday after it."""
    width, in_months = _bucket(args)
    kind = args[2].kind
    split, lowest = _split(kind), calendar_ends(kind)[0]
    monday = _joined(_FIRST_MONDAY, 0, kind)

    def start(value: int) -> int | None:
        if in_months:
            month = month_of(split(value)[0])
            month -= (month - _YEAR_2000) % width
            return None if month < FIRST_MONTH else _joined(first_day(month), 0, kind)
        begun = value - (value - monday) % width
        return None if begun < lowest else begun

    return start


def _bucket_safe(args: Args) -> Interval:
    """Where the argument must be for its bucket to start within the calendar."""
    width, in_months = _bucket(args)
    kind = args[2].kind
    low, high = calendar_ends(kind)
    if in_months:
        first = FIRST_MONTH + (_YEAR_2000 - FIRST_MONTH) % width
        return _joined(first_day(first), 0, kind), high
    return low + (_joined(_FIRST_MONDAY, 0, kind) - low) % width, high


def _bucket_facts(args: Args) -> Facts:
    _dated(args[2], "TIME_BUCKET")
    start, safe, (low, high) = _bucket_start(args), _bucket_safe(args), args[2].ends
    first, last = start(max(low, safe[0])), start(high)
    if first is None or last is None:
        raise Unfit("the bucket never starts within the years 1 to 9999", "choose a smaller width")
    nullable = args[2].nullable or low < safe[0]
    return Facts(args[2].kind, 0, first, last, nullable=nullable, **origin(args[2:]))


def _bucket_sql(texts: Texts, args: Args, _result: Facts) -> str:
    width, in_months = _bucket(args)
    kind = args[2].kind

    def start(text: str) -> str:
        if in_months:
            return _hold(f"time_bucket(to_months({width}), {_read(text, args[2])})", args[2])
        rest = f"(({text} - ({_joined(_FIRST_MONDAY, 0, kind)})) % {width} + {width}) % {width}"
        return f"CAST({text} - {rest} AS {'INTEGER' if kind is Kind.DAY else 'BIGINT'})"

    return _moved(texts[2], args[2].ends, kind, _bucket_safe(args), start)


def _bucket_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    start = _bucket_start(args)
    return null_safe(lambda _unit, _count, value: start(value))


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
        f"The start of the unit it is in: {', '.join(_UNITS)}. Of a date it is a date.",
        _start_facts,
        _start_sql,
        _start_meaning,
    ),
    Function(
        "date_diff",
        (3, 3),
        "DATE_DIFF('day', d, DATE '2020-12-31')",
        f"How many starts of a unit ({', '.join(_UNITS)}) lie between the first and the second; below 0 where the second is earlier.",
        _distance_facts,
        _distance_sql,
        _distance_meaning,
    ),
    Function(
        "date_add",
        (3, 3),
        "d + INTERVAL '3' MONTH",
        "Later by so many units; the last day of a month that is too short; NULL outside the years 1 to 9999.",
        _shift_facts,
        _shift_sql,
        _shift_meaning,
    ),
    Function(
        "time_bucket",
        (3, 3),
        "TIME_BUCKET(INTERVAL '7' DAY, d)",
        "The start of the bucket it is in: buckets of months start at 2000-01-01, others at Monday 2000-01-03.",
        _bucket_facts,
        _bucket_sql,
        _bucket_meaning,
    ),
)
