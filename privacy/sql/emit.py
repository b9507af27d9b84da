"""SQL text made from our own tree: the block query that DuckDB runs, and the canonical text that names the query."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.grid import bounds_of
from privacy.sql.tree import (
    ADDED,
    Aggregate,
    Both,
    ColumnsCompared,
    Compared,
    Condition,
    Either,
    KeyOutput,
    Missing,
    Negation,
    Output,
    Predicate,
    Query,
    Truth,
    Value,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def canonical_sql(query: Query) -> str:
    """The query in one spelling: two texts that ask the same in the same order have the same."""
    outputs = ", ".join(_canonical_output(output) for output in query.outputs)
    text = f"SELECT {outputs} FROM {_name(query.table)}"  # noqa: S608 - from our own tree, every name and literal quoted
    if query.where is not None:
        text += f" WHERE {_predicate(query.where, _Canonical())}"
    if query.keys:
        text += f" GROUP BY {', '.join(_name(key) for key in query.keys)}"
    return text


def block_sql(query: Query, schema: TableSchema) -> str:
    """What runs over one block: a row for each unit and group, in unit order, as runtime_images/query/runner.py reads it.

    Values outside the declared bounds are clamped here; NULL stays NULL (`greatest(NULL, 0)` would make it 0).
    """
    names = _InBlock(schema)
    columns = [f"{names.column(schema.unit)} AS unit"]
    columns += [f"{_key(schema.column(key), names)} AS k{index}" for index, key in enumerate(query.keys)]
    grouped = ", ".join(str(index + 1) for index in range(len(columns)))
    columns.append("count(*) AS n")
    summed = {value.column for value in query.values if value.aggregate in ADDED}
    for index, name in enumerate(query.measured):
        column = schema.column(name)
        total = f"sum({_clamped(column, names)})" if name in summed else "0"
        columns += [f"count({names.column(name)}) AS nn{index}", f"{total} AS s{index}"]
    where = "" if query.where is None else f" WHERE {_predicate(query.where, names)}"
    return f"SELECT {', '.join(columns)} FROM block{where} GROUP BY {grouped} ORDER BY 1"  # noqa: S608 - as above


class _Canonical:
    """Names and literals of the canonical text."""

    def column(self, name: str) -> str:
        return _name(name)

    def compared(self, name: str) -> str:
        return _name(name)

    def literal(self, name: str, value: Value) -> str:
        del name
        if isinstance(value, datetime):
            return f"TIMESTAMP '{value.astimezone(UTC).isoformat()}'"
        if isinstance(value, Decimal):
            return f"{value.normalize():f}"
        return _plain(value)


class _InBlock:
    """Names and literals of the block's SQL: every column qualified, every literal of its column's own type."""

    def __init__(self, schema: TableSchema) -> None:
        self._schema = schema

    def column(self, name: str) -> str:
        return f"block.{_name(name)}"

    def compared(self, name: str) -> str:
        """The column in the form in which it is compared: moments as microseconds, which need no time zone."""
        column = self.column(name)
        return f"epoch_us({column})" if self._schema.column(name).type is ColumnType.TIMESTAMP else column

    def literal(self, name: str, value: Value) -> str:
        column = self._schema.column(name)
        if isinstance(value, datetime):
            return f"CAST({(value - _EPOCH) // timedelta(microseconds=1)} AS BIGINT)"
        if isinstance(value, Decimal):
            return f"CAST('{value:.{column.scale}f}' AS DECIMAL(18, {column.scale}))"
        return f"CAST({value} AS BIGINT)" if column.type is ColumnType.INT else _plain(value)


def _predicate(node: Predicate, names: _Canonical | _InBlock) -> str:
    if isinstance(node, Negation):
        return f"NOT ({_predicate(node.part, names)})"
    if isinstance(node, Both | Either):
        word = " AND " if isinstance(node, Both) else " OR "
        return word.join(f"({_predicate(part, names)})" for part in node.parts)
    return _condition(node, names)


def _condition(node: Condition, names: _Canonical | _InBlock) -> str:
    if isinstance(node, Truth):
        return "TRUE" if node.value else "FALSE"
    if isinstance(node, Compared):
        return f"{names.compared(node.column)} {node.operator} {names.literal(node.column, node.value)}"
    if isinstance(node, ColumnsCompared):
        return f"{names.compared(node.left)} {node.operator} {names.compared(node.right)}"
    if isinstance(node, Missing):
        return f"{names.column(node.column)} IS NULL"
    values = ", ".join(names.literal(node.column, value) for value in node.values)
    return f"{names.compared(node.column)} IN ({values})"


def _canonical_output(output: Output) -> str:
    if isinstance(output, KeyOutput):
        what = _name(output.column)
    else:
        what = {
            Aggregate.ROWS: "COUNT(*)",
            Aggregate.UNITS: "COUNT(DISTINCT unit)",
            Aggregate.NONNULL: f"COUNT({_name(output.column or '')})",
            Aggregate.SUM: f"SUM({_name(output.column or '')})",
            Aggregate.AVG: f"AVG({_name(output.column or '')})",
        }[output.aggregate]
    return f"{what} AS {_name(output.name)}"


def _on_grid(value: str, scale: int) -> str:
    """A decimal as a whole number of its steps. In two parts: DuckDB's product of a DECIMAL(18) and 10^scale has no room and raises."""
    return f"(CAST(trunc({value}) AS BIGINT) * {10**scale} + CAST(({value} % 1) * {10**scale} AS BIGINT))"


def _key(column: Column, names: _InBlock) -> str:
    """A key in the form in which the runner encodes it: integer, text or boolean."""
    name = names.column(column.name)
    if column.type is ColumnType.DECIMAL:
        return _on_grid(name, column.scale)
    if column.type is ColumnType.DATE:
        return f"({name} - DATE '1970-01-01')"
    return f"epoch_us({name})" if column.type is ColumnType.TIMESTAMP else name


def _clamped(column: Column, names: _InBlock) -> str:
    value = names.column(column.name)
    if column.type is ColumnType.DECIMAL:
        value = _on_grid(value, column.scale)
    lower, upper = bounds_of(column)
    return f"CASE WHEN {value} < {lower} THEN {lower} WHEN {value} > {upper} THEN {upper} ELSE {value} END"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: Value) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"DATE '{value.isoformat()}'" if isinstance(value, date) else str(value)
