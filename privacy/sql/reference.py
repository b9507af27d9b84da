"""What a block contributes, said as plainly as possible: row by row, slow, no noise. The runner must agree (design R3).

Used by tests and proofs only; docs/proofs/bounding.md argues from this text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from hashlib import blake2b

from privacy.schema import TableSchema
from privacy.sql.grid import bounds_of, on_grid
from privacy.sql.keys import KeyValue, encode
from privacy.sql.plan_model import Measure, MeasureKind, QueryPlan
from privacy.sql.tree import (
    Both,
    ColumnsCompared,
    Compared,
    Condition,
    Either,
    Missing,
    Negation,
    Operator,
    Predicate,
    Query,
    Truth,
    Value,
)

Row = Mapping[str, KeyValue]


def cells_of(
    rows: Iterable[Row], query: Query, schema: TableSchema, plan: QueryPlan, seed: bytes
) -> dict[bytes, tuple[int, ...]]:
    """The partial of a block that holds these rows."""
    cells: dict[bytes, list[int]] = {}
    for unit, groups in _rows_by_unit_and_group(rows, query, schema, plan).items():
        for key in chosen(unit, list(groups), seed, plan.max_groups):
            total = cells.setdefault(key, [0] * len(plan.measures))
            for index, measure in enumerate(plan.measures):
                total[index] += _contribution(groups[key], measure, query, schema, plan.max_rows)
    return {key: tuple(total) for key, total in cells.items()}


def chosen(unit: str, keys: list[bytes], seed: bytes, most: int) -> list[bytes]:
    """The groups that a unit counts in: the `most` with the smallest keyed hash of its own and the group's bytes (R1)."""

    def rank(key: bytes) -> tuple[bytes, bytes]:
        name = unit.encode("utf-8")
        return blake2b(len(name).to_bytes(4, "big") + name + key, key=seed, digest_size=16).digest(), key

    return sorted(keys, key=rank)[:most]


def holds(node: Predicate, row: Row) -> bool | None:
    """The three-valued truth of a predicate; None is SQL's unknown."""
    if isinstance(node, Negation):
        found = holds(node.part, row)
        return None if found is None else not found
    if isinstance(node, Both | Either):
        truths = [holds(part, row) for part in node.parts]
        decisive = isinstance(node, Either)  # one TRUE decides an OR, one FALSE an AND
        if decisive in truths:
            return decisive
        return None if None in truths else not decisive
    return _condition_holds(node, row)


def _condition_holds(node: Condition, row: Row) -> bool | None:
    if isinstance(node, Truth):
        return node.value
    if isinstance(node, Missing):
        return row[node.column] is None
    if isinstance(node, Compared):
        return _compare(row[node.column], node.operator, node.value)
    if isinstance(node, ColumnsCompared):
        return _compare(row[node.left], node.operator, row[node.right])
    return None if row[node.column] is None else row[node.column] in node.values


def _rows_by_unit_and_group(
    rows: Iterable[Row], query: Query, schema: TableSchema, plan: QueryPlan
) -> dict[str, dict[bytes, list[Row]]]:
    found: dict[str, dict[bytes, list[Row]]] = {}
    for row in rows:
        unit = row[schema.unit]
        if not isinstance(unit, str) or (query.where is not None and holds(query.where, row) is not True):
            continue
        key = encode(tuple(row[column.column] for column in plan.keys), plan.keys)
        found.setdefault(unit, {}).setdefault(key, []).append(row)
    return found


def _contribution(rows: list[Row], measure: Measure, query: Query, schema: TableSchema, cap: int) -> int:
    if measure.kind is MeasureKind.UNITS:
        return 1
    if measure.kind is MeasureKind.ROWS:
        return min(len(rows), cap)
    values = _values(rows, measure, query, schema)
    if measure.kind is MeasureKind.NONNULL:
        return min(len(values), cap)
    total = sum(value - measure.centre for value in values)
    return total * cap // len(values) if len(values) > cap else total


def _values(rows: list[Row], measure: Measure, query: Query, schema: TableSchema) -> list[int]:
    """What the measured column holds in these rows, on the grid, clamped where the column is added up."""
    column = schema.column(query.measured[measure.column or 0])
    held = [value for value in (row[column.name] for row in rows) if value is not None]
    if measure.kind is not MeasureKind.SUM:
        return [0] * len(held)
    lower, upper = bounds_of(column)
    numbers = [value for value in held if isinstance(value, int | Decimal)]
    return [min(max(on_grid(number, column), lower), upper) for number in numbers]


def _compare(left: KeyValue, operator: Operator, right: KeyValue | Value) -> bool | None:
    if left is None or right is None:
        return None
    if operator is Operator.EQUAL:
        return left == right
    if operator is Operator.UNEQUAL:
        return left != right
    below, equal = _below(left, right), left == right
    return {
        Operator.LESS: below,
        Operator.AT_MOST: below or equal,
        Operator.MORE: not below and not equal,
        Operator.AT_LEAST: not below,
    }[operator]


def _below(left: Value, right: Value) -> bool:
    """Order of two values of one kind; texts by their UTF-8 bytes, as DuckDB's binary collation has it."""
    if isinstance(left, str) and isinstance(right, str):
        return left.encode("utf-8") < right.encode("utf-8")
    if isinstance(left, datetime) and isinstance(right, datetime):
        return left < right
    if type(left) is date and type(right) is date:
        return left < right
    if isinstance(left, int | Decimal) and isinstance(right, int | Decimal):
        return left < right
    raise TypeError("these have no order")
