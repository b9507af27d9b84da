"""Expressions, facts and held values as JSON, and back: whole numbers are texts, and every part of an expression is written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, Value, parts_of
from privacy.sql.facts import Facts
from privacy.sql.held import Held, Kind

_BY_TAG: Mapping[str, Callable[[str], Value]] = {
    "whole": int,
    "decimal": Decimal,
    "text": str,
    "date": date.fromisoformat,
    "moment": datetime.fromisoformat,
}


class Parts:
    """The parts of several expressions, each after its own arguments; `listed` is their JSON."""

    def __init__(self) -> None:
        self.listed: list[list[Any]] = []
        self._places: dict[tuple[Any, ...], int] = {}

    def place(self, expression: Expression) -> int:
        """Where the expression stands in the list, to which it is added."""
        found: dict[int, int] = {}
        for part in parts_of(expression):
            found[id(part)] = self._place(part, found)
        return found[id(expression)]

    def _place(self, part: Expression, found: Mapping[int, int]) -> int:
        if isinstance(part, Call):
            key: tuple[Any, ...] = ("call", part.function, *(found[id(arg)] for arg in part.args))
        elif isinstance(part, ColumnRef):
            key = ("column", part.index)
        else:
            key = ("literal", *_tagged(part.value))
        if key not in self._places:
            self._places[key] = len(self.listed)
            self.listed.append(list(key))
        return self._places[key]


def parts_from(listed: Sequence[Sequence[Any]]) -> list[Expression]:
    """The expressions that `Parts` listed. Raises ValueError or TypeError for anything else."""
    found: list[Expression] = []
    for tag, first, *others in listed:
        if tag == "call":
            if not all(type(at) is int and 0 <= at < len(found) for at in others):
                raise ValueError("a part of an expression stands after what it is an argument of")
            found.append(Call(first, tuple(found[at] for at in others)))
        elif tag == "column":
            if type(first) is not int or first < 0:
                raise ValueError("not a column")
            found.append(ColumnRef(first))
        elif tag == "literal":
            found.append(Literal(_value(first, *others)))
        else:
            raise ValueError("not a part of an expression")
    return found


def facts_json(facts: Facts) -> dict[str, Any]:
    """The JSON form; `facts_from` is its inverse."""
    return {
        "kind": facts.kind.value,
        "scale": facts.scale,
        "low": None if facts.low is None else str(facts.low),
        "high": None if facts.high is None else str(facts.high),
        "max_bytes": facts.max_bytes,
        "values": None if facts.values is None else [_tagged(value) for value in facts.values],
        "nullable": facts.nullable,
        "is_public": facts.is_public,
        "reads_private": facts.reads_private,
    }


def facts_from(entry: Mapping[str, Any]) -> Facts:
    """Rebuild what `facts_json` gave. Raises ValueError, KeyError or TypeError for anything else."""
    low, high, values = entry["low"], entry["high"], entry["values"]
    return Facts(
        kind=Kind(entry["kind"]),
        scale=entry["scale"],
        low=None if low is None else int(low),
        high=None if high is None else int(high),
        max_bytes=entry["max_bytes"],
        values=None if values is None else tuple(_value(*value) for value in values),
        nullable=entry["nullable"],
        is_public=entry["is_public"],
        reads_private=entry["reads_private"],
    )


def held_json(value: Held) -> bool | str | None:
    """A held value; its kind is told elsewhere."""
    return value if value is None or isinstance(value, bool | str) else str(value)


def held_from(value: bool | str | None, kind: Kind) -> Held:
    """Rebuild what `held_json` gave of a value of this kind. Raises ValueError or TypeError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) != (kind is Kind.TRUTH):
        raise TypeError("a held value is of another kind")
    return value if kind in (Kind.TEXT, Kind.TRUTH) else int(value)


def _tagged(value: Value) -> tuple[str, Any]:
    if value is None or isinstance(value, bool):
        return "truth", value
    if isinstance(value, datetime):
        return "moment", value.isoformat()
    if isinstance(value, date):
        return "date", value.isoformat()
    tag = {int: "whole", Decimal: "decimal", str: "text"}[type(value)]
    return tag, str(value)


def _value(tag: str, value: Any) -> Value:
    if tag == "truth":
        if value is not None and not isinstance(value, bool):
            raise TypeError("not a truth value")
        return value
    return _BY_TAG[tag](value)
