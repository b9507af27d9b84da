"""How functions are read whose arguments are not all expressions: parts of dates, intervals, types of CAST, patterns, sides of TRIM."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sqlglot import exp

from privacy.sql.expressions import Literal
from privacy.sql.refusal import Text, quoted

Argument = Literal | exp.Expr
WrittenCall = tuple[str, tuple[Argument, ...], bool]  # function, arguments, whether the value is negated

_COUNT = re.compile(r"[+-]?[0-9]{1,9}")
_INTERVAL = "INTERVAL '3' MONTH"
_PARTS: Mapping[type[exp.Expr], str] = {
    exp.Year: "year",
    exp.Quarter: "quarter",
    exp.Month: "month",
    exp.Week: "week",
    exp.Day: "day",
    exp.DayOfMonth: "day",
    exp.DayOfYear: "doy",
    exp.DayOfWeek: "dow",
    exp.DayOfWeekIso: "isodow",
    exp.Hour: "hour",
    exp.Minute: "minute",
    exp.Second: "second",
}
_NAMED_PARTS = frozenset({"date_part", "datepart"})
_SPELLED: Mapping[str, str] = {"dayofweek": "dow", "dayofyear": "doy", "dayofmonth": "day", "weekofyear": "week"}
_WHOLE = frozenset(
    {
        exp.DType.TINYINT,
        exp.DType.SMALLINT,
        exp.DType.INT,
        exp.DType.BIGINT,
        exp.DType.INT128,
        exp.DType.UTINYINT,
        exp.DType.USMALLINT,
        exp.DType.UINT,
        exp.DType.UBIGINT,
    }
)
_TEXTS = frozenset({exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.CHAR})
_FLOATS = frozenset({exp.DType.FLOAT, exp.DType.DOUBLE})
_TARGETS: Mapping[exp.DType, str] = {
    **dict.fromkeys(_WHOLE, "to_integer"),
    **dict.fromkeys(_TEXTS, "to_text"),
    exp.DType.BOOLEAN: "to_truth",
    exp.DType.DATE: "to_date",
    exp.DType.TIMESTAMP: "to_timestamp",
    exp.DType.TIMESTAMPNTZ: "to_timestamp",
}


def unit_of(node: exp.Expr | None, text: Text, at: exp.Expr) -> Literal:
    """A unit of time as written: month, MONTHS, 'month'. Raises Invalid for what is no word."""
    if isinstance(node, exp.Var | exp.Literal):
        word = str(node.this).lower()
    elif node is not None and type(node) in _PARTS:
        word = _PARTS[type(node)]  # INTERVAL '90' DAY (3): the digits in brackets say nothing
    else:
        raise text.refuse_node(at, "a unit of time is written as a word", "such as year, month or day")
    word = _SPELLED.get(word, word)
    return Literal(word.removesuffix("s"))


def interval_of(node: exp.Expr, text: Text) -> tuple[Literal, int]:
    """Unit and count of an interval as written. Raises Invalid."""
    text.only(node, "this", "unit", way_out=f"write {_INTERVAL}")
    count, sign = node.this, 1
    while isinstance(count, exp.Neg | exp.Paren):
        sign, count = (-sign if isinstance(count, exp.Neg) else sign), count.this
    words = str(count.this).strip() if isinstance(count, exp.Literal) else ""
    if not _COUNT.fullmatch(words):
        raise text.refuse_node(node, "an interval is a whole number of one unit, as written", f"write {_INTERVAL}")
    return unit_of(node.args.get("unit"), text, node), sign * int(words)


def written_call(node: exp.Expr, text: Text) -> WrittenCall | None:
    """The function that a parsed part means, with its arguments; None where it is none of these. Raises Invalid."""
    read = _CALLS.get(type(node))
    if read is not None:
        return read(node, text)
    if type(node) in _PARTS:
        text.only(node, "this")
        return "date_part", (Literal(_PARTS[type(node)]), node.this), False
    return None


def _extract(node: exp.Expr, text: Text) -> WrittenCall:
    text.only(node, "this", "expression", way_out="write EXTRACT(year FROM d)")
    return "date_part", (unit_of(node.this, text, node), node.expression), False


def _trunc(node: exp.Expr, text: Text) -> WrittenCall:
    text.only(node, "this", "unit", way_out="write DATE_TRUNC('month', d)")
    return "date_trunc", (unit_of(node.args.get("unit"), text, node), node.this), False


def _diff(node: exp.Expr, text: Text) -> WrittenCall:
    text.only(node, "this", "expression", "unit", "date_part_boundary", way_out="write DATE_DIFF('day', d, e)")
    return "date_diff", (unit_of(node.args.get("unit"), text, node), node.expression, node.this), False


def _bucket(node: exp.Expr, text: Text) -> WrittenCall:
    way_out = "write TIME_BUCKET(INTERVAL '7' DAY, d)"
    text.only(node, "this", "expression", way_out=way_out)
    if not isinstance(node.this, exp.Interval):
        raise text.refuse_node(node, "TIME_BUCKET needs its width as an interval", way_out)
    unit, count = interval_of(node.this, text)
    return "time_bucket", (unit, Literal(count), node.expression), False


def _shifted(sign: int) -> Callable[[exp.Expr, Text], WrittenCall | None]:
    """`d + INTERVAL`, `INTERVAL + d`, `d - INTERVAL`; other sums are arithmetic."""

    def read(node: exp.Expr, text: Text) -> WrittenCall | None:
        date, interval = node.this, node.expression
        if sign > 0 and isinstance(date, exp.Interval):
            date, interval = interval, date
        if not isinstance(interval, exp.Interval):
            return None
        text.only(node, "this", "expression")
        unit, count = interval_of(interval, text)
        return "date_add", (unit, date, Literal(sign * count)), False

    return read


def _cast(node: exp.Expr, text: Text) -> WrittenCall:
    text.only(node, "this", "to", "safe", "_type", way_out="write CAST(x AS DECIMAL(18, 2))")
    to = node.args["to"]
    text.only(
        to,
        "this",
        "expressions",
        what="this type",
        way_out="CAST to BIGINT, DECIMAL(18, 2), VARCHAR, DATE or TIMESTAMP",
    )
    shown = getattr(to.this, "value", "this type")
    if to.this is exp.DType.DECIMAL:
        digits = [part.this for part in to.expressions] or [exp.Literal.number(18), exp.Literal.number(3)]
        if not all(isinstance(part, exp.Literal) and not part.is_string for part in digits):
            raise text.refuse_node(node, "DECIMAL needs its digits as numbers", "write DECIMAL(18, 2)")
        return "to_decimal", (node.this, *digits, *([exp.Literal.number(0)] if len(digits) == 1 else [])), False
    if to.this in _FLOATS:
        raise text.refuse_node(node, f"{shown} is a binary float, and every answer is exact", "CAST to DECIMAL(18, 6)")
    function = _TARGETS.get(to.this)
    if function is None or to.expressions:
        way_out = "CAST to BIGINT, DECIMAL(18, 2), VARCHAR, BOOLEAN, DATE or TIMESTAMP"
        raise text.refuse_node(node, f"CAST to {quoted(str(shown))} is not accepted in this form", way_out)
    return function, (node.this,), False


def _like(name: str) -> Callable[[exp.Expr, Text], WrittenCall]:
    def read(node: exp.Expr, text: Text) -> WrittenCall:
        text.only(node, "this", "expression", "negate", way_out="write s LIKE 'a%'")
        return name, (node.this, node.expression), bool(node.args.get("negate"))

    return read


def _escape(node: exp.Expr, text: Text) -> WrittenCall:
    way_out = "write s LIKE 'a!%%' ESCAPE '!'"
    text.only(node, "this", "expression", way_out=way_out)
    if type(node.this) not in (exp.Like, exp.ILike):
        raise text.refuse_node(node, "ESCAPE belongs to LIKE", way_out)
    name, args, negated = _like("like" if type(node.this) is exp.Like else "ilike")(node.this, text)
    return name, (*args, node.expression), negated


def _trim(node: exp.Expr, text: Text) -> WrittenCall:
    text.only(node, "this", "position", what="TRIM of anything but blanks", way_out="write TRIM(s)")
    position = str(node.args.get("position") or "BOTH").upper()
    return {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(position, "trim"), (node.this,), False


def _anonymous(node: exp.Expr, text: Text) -> WrittenCall | None:
    if str(node.this).lower() not in _NAMED_PARTS or len(node.expressions) != 2:
        return None
    text.only(node, "this", "expressions")
    part, date = node.expressions
    return "date_part", (unit_of(part, text, node), date), False


_CALLS: Mapping[type[exp.Expr], Callable[[exp.Expr, Text], WrittenCall | None]] = {
    exp.Add: _shifted(1),
    exp.Sub: _shifted(-1),
    exp.DateAdd: _shifted(1),
    exp.DateSub: _shifted(-1),
    exp.Extract: _extract,
    exp.TimestampTrunc: _trunc,
    exp.DateTrunc: _trunc,
    exp.DateDiff: _diff,
    exp.DateBin: _bucket,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Like: _like("like"),
    exp.ILike: _like("ilike"),
    exp.Escape: _escape,
    exp.Trim: _trim,
    exp.Anonymous: _anonymous,
}
