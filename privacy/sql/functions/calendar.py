"""The calendar of days and moments as whole numbers: proleptic Gregorian, UTC, years 1 to 9999, as in DuckDB.

A day is counted from 1970-01-01, a moment in microseconds from its midnight. Months are counted from January of year 0.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date

from privacy.sql.ends import Interval
from privacy.sql.facts import DAYS, MOMENTS
from privacy.sql.held import DAY_MICROSECONDS, EPOCH_DAY, Kind

FIRST_MONTH, LAST_MONTH = 12, 12 * 9999 + 11
MONTHS: Mapping[str, int] = {"month": 1, "quarter": 3, "year": 12}  # units that are so many months
MICROSECONDS: Mapping[str, int] = {  # units that are so many microseconds
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": DAY_MICROSECONDS,
    "week": 7 * DAY_MICROSECONDS,
}
SHORT = frozenset({"second", "minute", "hour"})  # units that a day does not have
_MONDAY = 4  # 1970-01-05


def calendar_ends(kind: Kind) -> Interval:
    """The first and the last day, or moment, that there is."""
    return DAYS if kind is Kind.DAY else MOMENTS


def day_of(moment: int) -> int:
    """The day of a moment."""
    return moment // DAY_MICROSECONDS


def date_of(day: int) -> date:
    """A day as a date."""
    return date.fromordinal(EPOCH_DAY.toordinal() + day)


def month_of(day: int) -> int:
    """The month that a day is in."""
    on = date_of(day)
    return 12 * on.year + on.month - 1


def first_day(month: int) -> int:
    """The first day of a month within the calendar."""
    return date(month // 12, month % 12 + 1, 1).toordinal() - EPOCH_DAY.toordinal()


def last_day(month: int) -> int:
    """The last day of a month within the calendar."""
    return first_day(month) + monthrange(month // 12, month % 12 + 1)[1] - 1


def months_later(day: int, months: int) -> int:
    """The same day of another month, or its last where it is shorter; both are within the calendar."""
    month = month_of(day) + months
    return min(first_day(month) + date_of(day).day - 1, last_day(month))


def index_in(unit: str, day: int, within_day: int) -> int:
    """How many whole units have begun: two moments are in one month, week, hour exactly where these are equal."""
    if unit in MONTHS:
        return month_of(day) // MONTHS[unit]
    if unit == "week":
        return (day - _MONDAY) // 7
    return (day * DAY_MICROSECONDS + within_day) // MICROSECONDS[unit]


def start_of(unit: str, day: int, within_day: int) -> tuple[int, int]:
    """The day, and the microsecond in it, at which the unit around a moment begins."""
    if unit in MONTHS:
        return first_day(index_in(unit, day, 0) * MONTHS[unit]), 0
    if unit == "week":
        return index_in(unit, day, 0) * 7 + _MONDAY, 0
    return day, within_day - within_day % MICROSECONDS[unit]


PARTS: Mapping[str, tuple[Callable[[int, int], int], Interval]] = {  # of a day and a microsecond in it; and its ends
    "year": (lambda day, _: date_of(day).year, (1, 9999)),
    "quarter": (lambda day, _: (date_of(day).month + 2) // 3, (1, 4)),
    "month": (lambda day, _: date_of(day).month, (1, 12)),
    "week": (lambda day, _: date_of(day).isocalendar().week, (1, 53)),
    "day": (lambda day, _: date_of(day).day, (1, 31)),
    "doy": (lambda day, _: date_of(day).timetuple().tm_yday, (1, 366)),
    "dow": (lambda day, _: date_of(day).isoweekday() % 7, (0, 6)),
    "isodow": (lambda day, _: date_of(day).isoweekday(), (1, 7)),
    "hour": (lambda _, at: at // MICROSECONDS["hour"], (0, 23)),
    "minute": (lambda _, at: at // MICROSECONDS["minute"] % 60, (0, 59)),
    "second": (lambda _, at: at // MICROSECONDS["second"] % 60, (0, 59)),
}
