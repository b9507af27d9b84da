"""Expressions in one spelling: what is read from it is the same expression, and respelled ones have the same text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, Value, parts_of

_SIGNS = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "divide": "/",
    "whole_quotient": "//",
    "remainder": "%",
    "eq": "=",
    "ne": "<>",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "is_distinct": "IS DISTINCT FROM",
    "concat": "||",
    "like": "LIKE",
    "ilike": "ILIKE",
}
_MIRRORED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_SYMMETRIC = frozenset({"eq", "ne"})
_NAMES = {"null_if": "NULLIF"}
_TYPES = {
    "to_integer": "BIGINT",
    "to_text": "VARCHAR",
    "to_truth": "BOOLEAN",
    "to_date": "DATE",
    "to_timestamp": "TIMESTAMP",
}


def written(expression: Expression, names: Sequence[str] | Mapping[int, str]) -> str:
    """The text of an expression whose column i is called names[i]. Linear in the text."""
    made = dict[int, str]()
    for part in parts_of(expression):
        if isinstance(part, Literal):
            made[id(part)] = literal(part.value)
        elif isinstance(part, ColumnRef):
            made[id(part)] = names[part.index]
        else:
            made[id(part)] = _call(part, [made[id(arg)] for arg in part.args])
    return made[id(expression)]


def literal(value: Value) -> str:
    """The text of a value."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.astimezone(UTC).replace(tzinfo=None).isoformat(' ')}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    number = format(value, "f") if isinstance(value, Decimal) else str(value)
    return f"({number})" if value < 0 else number


def _call(call: Call, args: list[str]) -> str:
    name = call.function
    form = _FORMS.get(name)
    if form is not None:
        return form(call, args)
    if name in _TYPES:
        return f"CAST({args[0]} AS {_TYPES[name]})"
    if name in _SIGNS:
        return _infix(call, args)
    return f"{_NAMES.get(name, name.upper())}({', '.join(args)})"


def _infix(call: Call, args: list[str]) -> str:
    name, first, second = call.function, *args[:2]
    if name in _MIRRORED:
        literals = [isinstance(arg, Literal) for arg in call.args]
        if literals[0] > literals[1] or (name in _SYMMETRIC and literals[0] == literals[1] and second < first):
            name, first, second = _MIRRORED[name], second, first
    escape = f" ESCAPE {args[2]}" if len(args) == 3 and name in ("like", "ilike") else ""
    return f"({first} {_SIGNS[name]} {second}{escape})"


def _joined(word: str) -> Callable[[Call, list[str]], str]:
    return lambda _call, args: f"({f' {word} '.join(sorted(args))})"


def _one_of(_call: Call, args: list[str]) -> str:
    return f"({args[0]} IN ({', '.join(sorted(set(args[1:])))}))"


def _case(_call: Call, args: list[str]) -> str:
    arms = " ".join(f"WHEN {when} THEN {then}" for when, then in zip(args[:-1:2], args[1:-1:2], strict=True))
    return f"CASE {arms} ELSE {args[-1]} END"


def _word(arg: Expression) -> str:
    """A unit of time, which is a literal wherever one stands."""
    return str(arg.value) if isinstance(arg, Literal) else ""


def _count(arg: Expression) -> str:
    return str(arg.value) if isinstance(arg, Literal) else ""


_FORMS: Mapping[str, Callable[[Call, list[str]], str]] = {
    "and": _joined("AND"),
    "or": _joined("OR"),
    "not": lambda _call, args: f"(NOT {args[0]})",
    "negate": lambda _call, args: f"(-{args[0]})",
    "is_null": lambda _call, args: f"({args[0]} IS NULL)",
    "one_of": _one_of,
    "case": _case,
    "concat": lambda _call, args: f"({' || '.join(args)})",
    "to_decimal": lambda _call, args: f"CAST({args[0]} AS DECIMAL({args[1]}, {args[2]}))",
    "date_part": lambda call, args: f"EXTRACT({_word(call.args[0])} FROM {args[1]})",
    "date_add": lambda call, args: f"({args[1]} + INTERVAL '{_count(call.args[2])}' {_word(call.args[0])})",
    "time_bucket": lambda call, args: (
        f"TIME_BUCKET(INTERVAL '{_count(call.args[1])}' {_word(call.args[0])}, {args[2]})"
    ),
}
