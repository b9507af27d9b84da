"""Which literals a column may be compared with: those that its declared type holds exactly."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, InvalidOperation

from sqlglot import exp

from core.errors import Invalid
from privacy.schema import NUMERIC, TEXTUAL, Column, ColumnType
from privacy.sql.refusal import Text, listed, nearest
from privacy.sql.tree import Value

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)? ?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
_NUMBER = re.compile(r"[0-9]{0,40}\.?[0-9]{0,40}([eE][+-]?[0-9]{1,2})?")
MAX_DECIMAL_DIGITS = 18
_EXACT = Context(prec=200)
_DATES = {exp.DType.DATE}
_MOMENTS = {exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPTZ}


def is_literal(node: exp.Expr) -> bool:
    """Whether a parsed part is one of the literals: number, string, TRUE, FALSE, DATE '…' or TIMESTAMP '…'."""
    node = node.unnest()
    if isinstance(node, exp.Neg):
        return isinstance(node.this, exp.Literal) and not node.this.is_string
    if isinstance(node, exp.Cast):
        return _typed(node) is not None
    return isinstance(node, exp.Literal | exp.Boolean | exp.Null)


def value_for(column: Column, node: exp.Expr, text: Text) -> Value:
    """The value of a literal that is compared with `column`. Raises Invalid where the column cannot hold it."""
    bare = node.unnest()
    if isinstance(bare, exp.Null):
        reason = "a comparison with NULL is never true"
        raise text.refuse_node(bare, reason, f"{column.name} IS NULL, or {column.name} IS NOT NULL")
    found: Value | None
    if column.type in NUMERIC:
        found = _number(column, bare, text)
    elif column.type in TEXTUAL:
        found = _words(column, bare, text)
    elif column.type is ColumnType.BOOL:
        found = bool(bare.this) if isinstance(bare, exp.Boolean) else None
    elif column.type is ColumnType.DATE:
        found = _day(bare)
    else:
        found = _moment(bare)
    if found is None:
        raise _wrong_type(column, bare, text)
    return found


def _wrong_type(column: Column, node: exp.Expr, text: Text) -> Invalid:
    forms = {
        ColumnType.INT: "a whole number, such as 6",
        ColumnType.DECIMAL: f"a number with at most {column.scale} decimal digits",
        ColumnType.STRING: "a text in single quotes, such as 'abc'",
        ColumnType.CATEGORY: f"one of {listed(repr(value) for value in column.values)}",
        ColumnType.BOOL: "TRUE or FALSE",
        ColumnType.DATE: "a day, such as DATE '2013-06-30'",
        ColumnType.TIMESTAMP: "a moment in UTC, such as TIMESTAMP '2013-06-30 12:00:00'",
    }
    reason = f"{column.name} is of type {column.type} and cannot be compared with this"
    return _refused(text, node, reason, f"compare {column.name} with {forms[column.type]}")


def _refused(text: Text, node: exp.Expr, reason: str, way_out: str) -> Invalid:
    return text.refuse_node(node, reason, way_out, code="sql.type_mismatch")


def _number(column: Column, node: exp.Expr, text: Text) -> int | Decimal | None:
    inner = node.this if isinstance(node, exp.Neg) else node
    if not isinstance(inner, exp.Literal) or inner.is_string or not _NUMBER.fullmatch(inner.this):
        return None
    try:
        size = _EXACT.create_decimal(inner.this)
        found = _EXACT.minus(size) if isinstance(node, exp.Neg) else size  # never a negative zero
    except InvalidOperation:
        return None
    whole = column.type is ColumnType.INT
    digits = 0 if whole else column.scale
    limit = 2**63 if whole else 10 ** (MAX_DECIMAL_DIGITS - digits)
    if abs(found) >= limit and not (whole and found == -limit):
        raise _refused(text, node, f"{column.name} cannot hold so large a number", f"write a number below {limit}")
    if found != found.quantize(Decimal(1).scaleb(-digits), context=_EXACT):
        reason = f"{column.name} holds " + ("whole numbers" if whole else f"{digits} decimal digits")
        raise _refused(text, node, reason, "round the number")
    return int(found) if whole else found


def _words(column: Column, node: exp.Expr, text: Text) -> str | None:
    if not isinstance(node, exp.Literal) or not node.is_string:
        return None
    found = str(node.this)
    if column.type is ColumnType.CATEGORY and found not in column.values:
        close = nearest(found, column.values)
        ways = f"{column.name} is one of {listed(repr(value) for value in column.values)}"
        way_out = f"did you mean {close!r}? {ways}" if close is not None else ways
        raise _refused(text, node, f"{column.name} is never this value", way_out)
    return found


def _typed(node: exp.Cast) -> tuple[exp.DType, str] | None:
    """The type and text of `DATE '…'` or `TIMESTAMP '…'`."""
    kind = node.to.this if isinstance(node.to, exp.DataType) else None
    plain = isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast) and not node.to.expressions
    if kind in _DATES | _MOMENTS and plain and isinstance(node.this, exp.Literal) and node.this.is_string:
        return kind, str(node.this.this)
    return None


def _day(node: exp.Expr) -> date | None:
    kind, words = _text_of(node)
    if words is None or kind in _MOMENTS or not _DAY.fullmatch(words):
        return None
    try:
        return date.fromisoformat(words)
    except ValueError:
        return None


def _moment(node: exp.Expr) -> datetime | None:
    kind, words = _text_of(node)
    if words is None or not (_DAY if kind in _DATES else _MOMENT).fullmatch(words):
        return None
    try:
        found = datetime.fromisoformat(words.replace(" +", "+").replace(" -", "-").replace(" Z", "Z"))
        if found.tzinfo is None:
            found = datetime.combine(found.date(), found.time() or time(), tzinfo=UTC)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text_of(node: exp.Expr) -> tuple[exp.DType | None, str | None]:
    if isinstance(node, exp.Cast):
        return _typed(node) or (None, None)
    if isinstance(node, exp.Literal) and node.is_string:
        return None, str(node.this)
    return None, None
