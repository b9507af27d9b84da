"""What a query costs and how it will run, worked out from the request and the declaration alone (design R10).

Proof: docs/proofs/query.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import Invalid
from privacy.schema import ColumnType, TableSchema
from privacy.sql.clipping import clipped
from privacy.sql.emit import block_sql, canonical_sql
from privacy.sql.forecast import forecast_of, rows_per_cell
from privacy.sql.grid import bounds_of
from privacy.sql.key_plan import cells_of, key_of, partial_groups
from privacy.sql.measures import check_shown, check_total, shapes_of
from privacy.sql.parse_check import parse_check
from privacy.sql.plan_model import (
    Forecast,
    Measure,
    MeasureKind,
    OutputColumn,
    QueryPlan,
    QueryRequest,
)
from privacy.sql.pricing import delta_of, mechanisms_of, price_of
from privacy.sql.tree import ADDED, Aggregate, KeyOutput, Query

__all__ = ["Forecast", "Measure", "MeasureKind", "OutputColumn", "QueryPlan", "QueryRequest", "plan_query"]

MAX_GROUPS = 10_000
MAX_ROWS = 1_000_000


def plan_query(request: QueryRequest, schema: TableSchema) -> QueryPlan:
    """The plan. Raises Invalid for a query, bound or price that cannot be planned; the same inputs give the same plan."""
    _check_request(request)
    query = parse_check(request.sql, schema)
    keys = tuple(key_of(query, schema.column(name)) for name in query.keys)
    cells = cells_of(keys)
    public = cells is not None
    groups = request.max_groups_per_unit if cells is None else min(request.max_groups_per_unit, cells)
    cap = request.max_rows_per_group
    delta = delta_of(request, schema, public=public)
    narrowed = clipped(schema, request.clip, query)
    shapes, made_of = shapes_of(query, narrowed, cap, public=public)
    for shape in shapes:
        check_total(schema.rows, groups, shape)
    threshold, noises = mechanisms_of(request, shapes, groups, delta, public=public)
    measures = tuple(Measure(*shape, noise) for shape, noise in zip(shapes, noises, strict=True))
    outputs = tuple(_outputs(query, narrowed, made_of))
    check_shown(outputs, measures, schema.rows, cap)
    per_cell = rows_per_cell(schema, groups, cap, cells, filtered=query.where is not None)
    return QueryPlan(
        canonical_sql=canonical_sql(query),
        block_sql=block_sql(query, narrowed),
        keys=keys,
        columns=len(query.measured),
        measures=measures,
        max_groups=groups,
        max_rows=cap,
        threshold=threshold,
        outputs=outputs,
        accountant=request.accountant,
        price=price_of(request, delta, threshold),
        epsilon=request.epsilon,
        delta=delta,
        forecast=forecast_of(outputs, measures, threshold, per_cell),
        max_groups_in_partial=cells if cells is not None else partial_groups(keys, schema, groups, len(measures)),
    )


def _check_request(request: QueryRequest) -> None:
    for field, value, most in (
        ("max_groups_per_unit", request.max_groups_per_unit, MAX_GROUPS),
        ("max_rows_per_group", request.max_rows_per_group, MAX_ROWS),
    ):
        if type(value) is not int or not 1 <= value <= most:
            where = {"field": f"bounds.{field}"}
            raise Invalid("bounds.invalid", f"{field} is a whole number from 1 to {most}", where=where)


def _outputs(query: Query, schema: TableSchema, made_of: dict[str, tuple[int, ...]]) -> Iterator[OutputColumn]:
    for output in query.outputs:
        if isinstance(output, KeyOutput):
            column = schema.column(output.column)
            key = query.keys.index(output.column)
            yield OutputColumn(output.name, None, column.type.value, key, (), column.scale, 0, 0)
            continue
        scale, lower, upper, kind = 0, 0, 0, "int"
        if output.column is not None and output.aggregate in ADDED:
            column = schema.column(output.column)
            scale = column.scale if column.type is ColumnType.DECIMAL else 0
            lower, upper = bounds_of(column)
            kind = "int" if output.aggregate is Aggregate.SUM and scale == 0 else "decimal"
        yield OutputColumn(output.name, output.aggregate, kind, None, made_of[output.name], scale, lower, upper)
