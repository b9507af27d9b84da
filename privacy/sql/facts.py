"""What is known of a value before any data is read: its kind, its grid, its ends, its length, whether it can be NULL.

A computed number whose interval does not fit 126 bits is refused when the query is planned, so nothing that is emitted can overflow
on any row (design R8); ends are exact integers, never floats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TypedDict

from privacy.schema import TEXTUAL, Bound, Column, ColumnType
from privacy.sql.ends import Interval, fits, hull, rescaled
from privacy.sql.expressions import Value
from privacy.sql.held import DAY_MICROSECONDS, EPOCH_DAY, Kind, digits_of, held, shown

GRID = 2**53 - 1  # what ingest keeps every stored number within, on its own grid
SMALL_BITS = 63  # what is computed in BIGINT
WIDE_BITS = 126  # what is computed in HUGEINT; nothing wider is accepted
MAX_SCALE = 12  # decimal digits of a grid
MAX_TEXT_BYTES = 1_024
MAX_LENGTH = 256  # characters of a stored text whose declaration gives no length; ingest keeps to it
MAX_VALUES = 10_000  # more enumerated values than cells that an answer may have are of no use

DAYS: Interval = ((date.min - EPOCH_DAY).days, (date.max - EPOCH_DAY).days)  # years 1 to 9999
MOMENTS: Interval = (DAYS[0] * DAY_MICROSECONDS, (DAYS[1] + 1) * DAY_MICROSECONDS - 1)


class Unfit(Exception):
    """A well-formed expression that cannot be accepted; who knows its place in the text makes a refusal of it."""

    def __init__(self, reason: str, way_out: str, code: str = "sql.type_mismatch") -> None:
        super().__init__(reason)
        self.reason = reason
        self.way_out = way_out
        self.code = code


WHOLE = frozenset({Kind.NUMBER, Kind.DAY, Kind.MOMENT})


@dataclass(frozen=True)
class Facts:
    """What is known of a value without data.

    Attributes:
        kind: what the value is.
        scale: NUMBER: decimal digits of the grid; a number is held as value * 10^scale.
        low, high: inclusive ends; of a NUMBER on its grid, of a DAY in days and of a MOMENT in microseconds since 1970 (UTC); None for
            the other kinds only.
        max_bytes: TEXT: the most bytes in UTF-8.
        values: all values there can be (NULL apart), in the order shown, or None where they are not listed. A function of
            declarations and the query's text, never of private rows.
        nullable: whether NULL is possible.
        is_public: whether `values` may be shown as keys without a threshold.
        reads_private: whether the value depends on a private row.
    """

    kind: Kind
    scale: int = 0
    low: int | None = None
    high: int | None = None
    max_bytes: int = 0
    values: tuple[Value, ...] | None = None
    nullable: bool = True
    is_public: bool = False
    reads_private: bool = True

    def __post_init__(self) -> None:
        if self.kind in WHOLE and (self.low is None or self.high is None or self.low > self.high):
            raise ValueError("whole values have two ends, the lower first")
        if not 0 <= self.scale <= MAX_SCALE or (self.scale and self.kind is not Kind.NUMBER):
            raise ValueError("a scale is a small number of digits, and of numbers only")

    @property
    def ends(self) -> Interval:
        """Both ends of a NUMBER, DAY or MOMENT. Raises ValueError for other kinds."""
        if self.low is None or self.high is None:
            raise ValueError(f"a {self.kind} has no ends")
        return self.low, self.high

    def fits(self, bits: int) -> bool:
        """Whether every value, its negative included, is below 2^bits."""
        return fits(self.ends, bits)

    def has(self, value: Value) -> bool:
        """Whether these facts admit the value, given as people write it. The exact converse of what they claim."""
        if value is None:
            return self.nullable
        if self.kind is Kind.TRUTH:
            return isinstance(value, bool)
        if self.kind is Kind.TEXT:
            fitting = isinstance(value, str) and len(value.encode()) <= self.max_bytes
            return fitting and (self.values is None or value in self.values)
        try:
            whole = held(value, self.kind, self.scale)
        except ValueError:
            return False
        if not isinstance(whole, int) or not self.ends[0] <= whole <= self.ends[1]:
            return False
        return self.values is None or value in self.values


def number(interval: Interval, scale: int, *, nullable: bool, of: tuple[Facts, ...] = ()) -> Facts:
    """Facts of a number computed from `of`. Raises Unfit where it is too wide to compute or its grid too fine."""
    if scale > MAX_SCALE:
        reason = f"the result has {scale} decimal digits; at most {MAX_SCALE} are computed"
        raise Unfit(reason, f"ROUND a part first, such as ROUND(x, {MAX_SCALE // 2})", "sql.too_wide")
    if not fits(interval, WIDE_BITS):
        reason = f"the result could need more than {WIDE_BITS} bits: its declared ends are too far apart"
        raise Unfit(reason, "bound the parts first, such as LEAST(GREATEST(x, 0), 1000000)", "sql.too_wide")
    return Facts(Kind.NUMBER, scale, *interval, nullable=nullable, **origin(of))


def text(max_bytes: int, *, nullable: bool, of: tuple[Facts, ...] = ()) -> Facts:
    """Facts of a text computed from `of`. Raises Unfit where it could be longer than is computed."""
    if max_bytes > MAX_TEXT_BYTES:
        reason = f"the text could have {max_bytes} bytes; at most {MAX_TEXT_BYTES} are computed"
        raise Unfit(reason, "shorten a part first, such as LEFT(x, 20)", "sql.too_wide")
    return Facts(Kind.TEXT, max_bytes=max_bytes, nullable=nullable, **origin(of))


def truth(*, nullable: bool, of: tuple[Facts, ...] = ()) -> Facts:
    """Facts of a condition over `of`. TRUE and FALSE tell nothing by standing in a list."""
    reads = any(part.reads_private for part in of)
    return Facts(Kind.TRUTH, values=(False, True), nullable=nullable, is_public=True, reads_private=reads)


class _Origin(TypedDict):
    is_public: bool
    reads_private: bool


class _Known(_Origin):
    nullable: bool


def origin(of: tuple[Facts, ...]) -> _Origin:
    """The last two facts of a value computed from `of`: public where all are, private where any is."""
    return {
        "is_public": all(part.is_public for part in of),
        "reads_private": any(part.reads_private for part in of),
    }


def united(several: tuple[Facts, ...]) -> Facts:
    """Facts of a value that comes from any of several places; numbers on the finest of their grids.

    Raises Unfit where kinds do not agree, or all are NULL as written.
    """
    some = tuple(facts for facts in several if facts.kind is not Kind.NOTHING)
    if not some:
        raise Unfit("NULL alone has no type", "give one of the values a type, such as 0")
    kind = some[0].kind
    other = next((facts.kind for facts in some if facts.kind is not kind), None)
    if other is not None:
        raise Unfit(f"one value is a {kind} and another a {other}", "make all values of one type")
    nullable = any(facts.nullable for facts in several)
    listed = _listed(some)
    if kind is Kind.TRUTH:
        return replace(truth(nullable=nullable, of=some), values=listed)
    if kind is Kind.TEXT:
        longest = max(facts.max_bytes for facts in some)
        return Facts(kind, max_bytes=longest, values=listed, nullable=nullable, **origin(some))
    scale = max(facts.scale for facts in some)
    ends = hull(*(rescaled(facts.ends, scale - facts.scale) for facts in some))
    known = number(ends, scale, nullable=nullable, of=some)  # a finer grid can be too wide
    if listed is not None:  # 3 beside 0.25 is shown as 3.00
        listed = tuple(shown(held(value, kind, scale), kind, scale) for value in listed)
    return replace(known, kind=kind, values=listed)


def _listed(several: tuple[Facts, ...]) -> tuple[Value, ...] | None:
    """All values, in the order in which they are first given."""
    if any(facts.values is None for facts in several):
        return None
    found = dict.fromkeys(value for facts in several for value in facts.values or ())
    return tuple(found) if len(found) <= MAX_VALUES else None


def column_facts(column: Column, type_: ColumnType | None = None, *, private: bool = True) -> Facts:
    """Facts of a stored column, from its declaration; `type_` replaces the declared type (the unit of a public table).

    Undeclared ends are those that ingest enforces: the integer grid, the calendar, 256 characters.
    """
    kind = type_ or column.type
    known: _Known = {"nullable": column.nullable, "is_public": column.public or not private, "reads_private": private}
    if kind is ColumnType.BOOL:
        return Facts(Kind.TRUTH, values=(False, True), **known)
    if kind in TEXTUAL:
        return _text_facts(column, known)
    if kind is ColumnType.DATE:
        return _whole_facts(column, Kind.DAY, 0, DAYS, known)
    if kind is ColumnType.TIMESTAMP:
        return _whole_facts(column, Kind.MOMENT, 0, MOMENTS, known)
    scale = column.scale if kind is ColumnType.DECIMAL else 0
    return _whole_facts(column, Kind.NUMBER, scale, (-GRID, GRID), known)


def _text_facts(column: Column, known: _Known) -> Facts:
    if column.type is ColumnType.CATEGORY:
        longest = max((len(value.encode()) for value in column.values), default=0)
        listed = column.values if len(column.values) <= MAX_VALUES else None
        return Facts(Kind.TEXT, max_bytes=longest, values=listed, **known)
    length = MAX_LENGTH if column.max_length is None else column.max_length
    return Facts(Kind.TEXT, max_bytes=4 * length, **known)


def _whole_facts(column: Column, kind: Kind, scale: int, widest: Interval, known: _Known) -> Facts:
    low = widest[0] if column.lower is None else _whole(column.lower, kind, scale)
    high = widest[1] if column.upper is None else _whole(column.upper, kind, scale)
    return Facts(kind, scale, low, high, **known)


def literal_facts(value: Value) -> Facts:
    """Facts of a value as written. Raises Unfit where it cannot be held."""
    known: _Known = {"nullable": value is None, "is_public": True, "reads_private": False}
    if value is None:
        return Facts(Kind.NOTHING, **known)
    if isinstance(value, bool):
        return Facts(Kind.TRUTH, values=(value,), **known)
    if isinstance(value, str):
        return Facts(Kind.TEXT, max_bytes=_length_of(value), values=(value,), **known)
    if isinstance(value, date):
        kind = Kind.MOMENT if isinstance(value, datetime) else Kind.DAY
        whole = _whole(value, kind, 0)
        return Facts(kind, 0, whole, whole, values=(value,), **known)
    scale = _scale_of(value)
    whole = _whole(value, Kind.NUMBER, scale)
    if not fits((whole, whole), WIDE_BITS):
        raise Unfit("the number has too many digits", f"write it below 2^{WIDE_BITS}", "sql.too_wide")
    return Facts(Kind.NUMBER, scale, whole, whole, values=(shown(whole, Kind.NUMBER, scale),), **known)


def _length_of(value: str) -> int:
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise Unfit("the text holds half of a character", "write whole characters") from None
    if "\0" in value:
        raise Unfit("the text holds a NUL character", "leave it out")
    if length > MAX_TEXT_BYTES:
        raise Unfit(f"the text has more than {MAX_TEXT_BYTES} bytes", "shorten it", "sql.too_wide")
    return length


def _scale_of(value: int | Decimal) -> int:
    try:
        scale = digits_of(value) if isinstance(value, Decimal) else 0
    except ValueError:
        raise Unfit("this is no number that can be held", "write it out in digits", "sql.too_wide") from None
    if scale > MAX_SCALE:
        reason = f"the number has more than {MAX_SCALE} decimal digits"
        raise Unfit(reason, f"write at most {MAX_SCALE} of them", "sql.too_wide")
    return scale


def _whole(value: Bound, kind: Kind, scale: int) -> int:
    whole = held(value, kind, scale)
    if not isinstance(whole, int):
        raise TypeError("a bound is held as a whole number")
    return whole
