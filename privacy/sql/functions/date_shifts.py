"""Shifting dates and finding their buckets; what leaves the years 1 to 9999 is NULL.

DuckDB raises for a date out of range, so every shift is of an argument that was first moved to where the result exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from privacy.sql.ends import Interval, added, fits, hull
from privacy.sql.facts import MOMENTS, SMALL_BITS, Facts, Unfit, origin
from privacy.sql.functions.calendar import (
    FIRST_MONTH,
    LAST_MONTH,
    MICROSECONDS,
    MONTHS,
    calendar_ends,
    first_day,
    last_day,
    month_of,
    months_later,
)
from privacy.sql.functions.dates import UNITS, as_duckdb, as_held, dated, day_and_time, joined, unit_of
from privacy.sql.functions.forms import any_nullable, constant
from privacy.sql.functions.record import Args, Function, Texts, null_safe
from privacy.sql.held import DAY_MICROSECONDS, Kind

_FIRST_MONDAY = 10_959  # 2000-01-03, where DuckDB's buckets start
_YEAR_2000 = 12 * 2000


def _moved(text: str, ends: Interval, kind: Kind, safe: Interval, of: Callable[[str], str]) -> str:
    """`of` a value with these ends, NULL where it is not within `safe`."""
    if safe[0] <= ends[0] and ends[1] <= safe[1]:
        return of(text)
    # A CASE promises nothing about what is computed inside it, so the argument itself is moved to where `of` cannot fail.
    moved = f"least(greatest({text}, {safe[0]}), {safe[1]})"
    if kind is Kind.DAY:
        moved = f"CAST({moved} AS INTEGER)"
    return f"(CASE WHEN {text} BETWEEN {safe[0]} AND {safe[1]} THEN {of(moved)} END)"


def _steps(args: Args) -> int | None:
    """Of a shift by a fixed length: its length in steps of the held form; None for a shift by months."""
    unit = unit_of(args, "DATE_ADD", UNITS)
    if unit in MONTHS:
        return None
    return MICROSECONDS[unit] if args[1].kind is Kind.MOMENT else MICROSECONDS[unit] // DAY_MICROSECONDS


def _shift_facts(args: Args) -> Facts:
    dated(args[1], "DATE_ADD")
    steps, kind = _steps(args), args[1].kind
    calendar = calendar_ends(kind)
    if steps is None:
        safe, months = _safe_months(args)
        (first, _), (last, _) = (day_and_time(kind)(min(max(end, safe[0]), safe[1])) for end in args[1].ends)
        # A time of day is kept, so within one day later moments can come before earlier ones: whole days are taken.
        low = joined(months_later(first, months), 0, kind)
        high = joined(months_later(last, months), DAY_MICROSECONDS - 1, kind)
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
    unit = unit_of(args, "DATE_ADD", UNITS)
    months = constant(args[2], "DATE_ADD", f"the {unit}s") * MONTHS[unit]
    if abs(months) >= LAST_MONTH - FIRST_MONTH:
        raise Unfit("the result is never within the years 1 to 9999", "shift by less")
    first = first_day(max(FIRST_MONTH, FIRST_MONTH - months))
    last = last_day(min(LAST_MONTH, LAST_MONTH - months))
    kind = args[1].kind
    return (joined(first, 0, kind), joined(last, DAY_MICROSECONDS - 1, kind)), months


def _shift_sql(texts: Texts, args: Args, result: Facts) -> str:
    steps = _steps(args)
    if steps is None:
        safe, months = _safe_months(args)
        return _moved(
            texts[1],
            args[1].ends,
            args[1].kind,
            safe,
            lambda text: as_held(f"({as_duckdb(text, args[1])} + to_months({months}))", args[1]),
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
    split = day_and_time(kind)

    def in_another_month(_unit: str, value: int, _count: int) -> int | None:
        if not safe[0] <= value <= safe[1]:
            return None
        day, at = split(value)
        return joined(months_later(day, months), at, kind)

    return null_safe(in_another_month)


def _bucket(args: Args) -> tuple[int, bool]:
    """The width in months or in steps of the held form, and whether it is in months."""
    unit = unit_of((args[0], args[2]), "TIME_BUCKET", UNITS)
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
    split, lowest = day_and_time(kind), calendar_ends(kind)[0]
    monday = joined(_FIRST_MONDAY, 0, kind)

    def start(value: int) -> int | None:
        if in_months:
            month = month_of(split(value)[0])
            month -= (month - _YEAR_2000) % width
            return None if month < FIRST_MONTH else joined(first_day(month), 0, kind)
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
        return joined(first_day(first), 0, kind), high
    return low + (joined(_FIRST_MONDAY, 0, kind) - low) % width, high


def _bucket_facts(args: Args) -> Facts:
    dated(args[2], "TIME_BUCKET")
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
            return as_held(f"time_bucket(to_months({width}), {as_duckdb(text, args[2])})", args[2])
        rest = f"(({text} - ({joined(_FIRST_MONDAY, 0, kind)})) % {width} + {width}) % {width}"
        return f"CAST({text} - {rest} AS {'INTEGER' if kind is Kind.DAY else 'BIGINT'})"

    return _moved(texts[2], args[2].ends, kind, _bucket_safe(args), start)


def _bucket_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    start = _bucket_start(args)
    return null_safe(lambda _unit, _count, value: start(value))


DATE_SHIFTS = (
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
