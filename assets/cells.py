"""Whether one cell is as its column declares, and what it is then stored as: exact, rounded half-even, NFC.

The same rules for every source: a cell is a text (CSV) or a Python value (Parquet, Arrow). Timestamps without an offset are UTC.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum

from assets.grid import GRID, is_plain_text
from privacy.schema import Column, ColumnType

Stored = int | Decimal | str | bool | date | datetime


class Reason(StrEnum):
    """Why a row is not kept: a closed set."""

    UNIT_MISSING = "unit_missing"
    MISSING = "missing"
    NOT_A_NUMBER = "not_a_number"
    NOT_AN_INTEGER = "not_an_integer"
    BELOW_LOWER = "below_lower"
    ABOVE_UPPER = "above_upper"
    NOT_IN_CATEGORIES = "not_in_categories"
    NOT_A_BOOL = "not_a_bool"
    NOT_A_DATE = "not_a_date"
    NOT_A_TIMESTAMP = "not_a_timestamp"
    NOT_TEXT = "not_text"
    TOO_LONG = "too_long"


Judged = Stored | Reason
Rule = Callable[[object], Judged]

_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[-+][0-9]{2}:?[0-9]{2})?)?",
    re.ASCII,
)
_WORDS = {"true": True, "false": False, "1": True, "0": False}
_EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN, traps=[])
_LONGEST_NUMBER = 100


def rule_for(column: Column) -> Rule:
    """The rule of an ordinary column for cells that are not null."""
    if column.type is ColumnType.CATEGORY:
        return _category_rule(column)
    rules: Mapping[ColumnType, Rule] = {
        ColumnType.INT: lambda cell: _integer(cell, column),
        ColumnType.DECIMAL: lambda cell: _decimal(cell, column),
        ColumnType.STRING: lambda cell: _text(cell, column.max_length),
        ColumnType.BOOL: _bool,
        ColumnType.DATE: lambda cell: _within(_date(cell), column),
        ColumnType.TIMESTAMP: lambda cell: _within(_timestamp(cell), column),
    }
    return rules[column.type]


def unit_rule(unit_type: ColumnType, max_length: int | None) -> Rule:
    """The rule of the unit column: one text for one unit, whichever source it came from (proof_obligations.md I18)."""

    def rule(cell: object) -> Judged:
        if isinstance(cell, str) and not cell.strip():
            return Reason.UNIT_MISSING
        if unit_type is ColumnType.INT:
            number = _whole(cell)
            cell = number if isinstance(number, Reason) else str(int(number))
        if isinstance(cell, Reason):
            return cell
        return _text(cell.strip() if isinstance(cell, str) else cell, max_length)

    return rule


def _number(cell: object) -> Decimal | None:
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int):
        return Decimal(cell)
    if isinstance(cell, float):
        cell = repr(cell)
    if isinstance(cell, str):
        text = cell.strip(" \t")
        return Decimal(text) if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) else None
    return cell if isinstance(cell, Decimal) and cell.is_finite() else None


def _whole(cell: object) -> Decimal | Reason:
    number = _number(cell)
    if number is None:
        return Reason.NOT_A_NUMBER
    return number if number == number.to_integral_value() else Reason.NOT_AN_INTEGER


def _integer(cell: object, column: Column) -> Judged:
    number = _whole(cell)
    if isinstance(number, Reason):
        return number
    outside = _outside(number, column)
    return int(number) if outside is None else outside


def _decimal(cell: object, column: Column) -> Judged:
    """Rounded to the declared scale first, and only then held against the bounds."""
    number = _number(cell)
    if number is None:
        return Reason.NOT_A_NUMBER
    if number.adjusted() > 40:
        return Reason.ABOVE_UPPER if number > 0 else Reason.BELOW_LOWER
    # Adding zero turns the -0.00 that rounding can leave into 0.00.
    number = number.quantize(Decimal(1).scaleb(-column.scale), context=_EXACT) + 0
    outside = _outside(number, column)
    return number if outside is None else outside


def _outside(number: Decimal, column: Column) -> Reason | None:
    """Undeclared bounds are those of the integer grid."""
    reach = Decimal(GRID).scaleb(-column.scale)
    lower, upper = (-reach, reach) if column.lower is None else (column.lower, column.upper)
    if number < lower:  # type: ignore[operator]  # a declaration's bounds are of the column's own kind
        return Reason.BELOW_LOWER
    return Reason.ABOVE_UPPER if number > upper else None  # type: ignore[operator]  # as above


def _text(cell: object, max_length: int | None) -> Judged:
    if isinstance(cell, int) and not isinstance(cell, bool):
        cell = str(cell)
    if not isinstance(cell, str) or not is_plain_text(cell):
        return Reason.NOT_TEXT
    text = unicodedata.normalize("NFC", cell)
    return Reason.TOO_LONG if max_length is not None and len(text) > max_length else text


def _category_rule(column: Column) -> Rule:
    values = frozenset(column.values)

    def rule(cell: object) -> Judged:
        text = _text(cell, None)
        return text if text in values else Reason.NOT_IN_CATEGORIES

    return rule


def _bool(cell: object) -> Judged:
    if isinstance(cell, bool):
        return cell
    text = cell.strip(" \t").lower() if isinstance(cell, str) else str(cell) if isinstance(cell, int) else ""
    return _WORDS.get(text, Reason.NOT_A_BOOL)


def _date(cell: object) -> Judged:
    if isinstance(cell, datetime):
        return cell.date() if cell.time() == time(0) else Reason.NOT_A_DATE
    if isinstance(cell, date):
        return cell
    text = cell.strip(" \t") if isinstance(cell, str) else ""
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else Reason.NOT_A_DATE
    except ValueError:
        return Reason.NOT_A_DATE


def _timestamp(cell: object) -> Judged:
    try:
        moment = _moment(cell)
        return Reason.NOT_A_TIMESTAMP if moment is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return Reason.NOT_A_TIMESTAMP


def _moment(cell: object) -> datetime | None:
    if isinstance(cell, str):
        text = cell.strip(" \t")
        cell = datetime.fromisoformat(text) if _MOMENT.fullmatch(text) else None
    elif isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime.combine(cell, time(0))
    if not isinstance(cell, datetime):
        return None
    return cell.replace(tzinfo=UTC) if cell.tzinfo is None else cell


def _within(found: Judged, column: Column) -> Judged:
    if isinstance(found, Reason) or column.lower is None or column.upper is None:
        return found
    if found < column.lower:  # type: ignore[operator]  # a declaration's bounds are of the column's own kind
        return Reason.BELOW_LOWER
    return Reason.ABOVE_UPPER if found > column.upper else found  # type: ignore[operator]  # as above
