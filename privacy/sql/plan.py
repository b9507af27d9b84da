"""What a query costs and how it will run, worked out from the request and the declaration alone (design R10)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from core.errors import Invalid
from privacy.accountant import Accountant, Loss, loss_of, rho_for
from privacy.mechanisms import KeyThreshold, Noise, NoiseKind
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.clipping import clipped
from privacy.sql.emit import block_sql, canonical_sql
from privacy.sql.forecast import forecast_of, rows_per_cell
from privacy.sql.grid import bounds_of, centre_of
from privacy.sql.keys import MAX_CELLS, MAX_KEY_BYTES, KeyColumn, domain_of, domain_size, max_bytes
from privacy.sql.parse_check import parse_check
from privacy.sql.partials import HEAD_BYTES, VALUE_BYTES
from privacy.sql.plan_model import (
    MAX_TOTAL,
    Forecast,
    Measure,
    MeasureKind,
    OutputColumn,
    QueryPlan,
    QueryRequest,
)
from privacy.sql.tree import Aggregate, KeyOutput, Query, ValueOutput

__all__ = ["Forecast", "Measure", "MeasureKind", "OutputColumn", "QueryPlan", "QueryRequest", "plan_query"]

MAX_GROUPS = 10_000
MAX_ROWS = 1_000_000
MAX_PARTIAL_GROUPS = 1_000_000
MAX_PARTIAL_BYTES = 256 << 20
EXCESS = 2  # a version may hold this many times the rows and units it declares; ingest refuses more

Shape = tuple[MeasureKind, int | None, int, int]  # kind, measured column, centre, linf


def plan_query(request: QueryRequest, schema: TableSchema) -> QueryPlan:
    """The plan. Raises Invalid for a query, bound or price that cannot be planned; the same inputs give the same plan."""
    _check_request(request)
    query = parse_check(request.sql, schema)
    keys = tuple(_key(query, schema.column(name)) for name in query.keys)
    public = all(key.public for key in keys)
    cells = _cells(keys) if public else None
    groups = request.max_groups_per_unit if cells is None else min(request.max_groups_per_unit, cells)
    delta = _delta(request, schema, public=public)
    measured = tuple(dict.fromkeys(value.column for value in query.values if value.column is not None))
    narrowed = clipped(schema, request.clip, query)
    shapes, made_of = _shapes(query, narrowed, measured, request.max_rows_per_group)
    for _, _, _, linf in shapes:
        _check_total(schema.rows, groups, linf)
    threshold, noises = _mechanisms(request, shapes, groups, delta, public=public)
    measures = [Measure(*shape, noise) for shape, noise in zip(shapes, noises, strict=True)]
    if threshold is not None and all(shape[0] is not MeasureKind.UNITS for shape in shapes):
        measures.append(Measure(MeasureKind.UNITS, None, 0, 1, None))
    outputs = tuple(_outputs(query, narrowed, made_of))
    summed = frozenset(value.column for value in query.values if value.column and value.aggregate in _ADDED)
    per_cell = rows_per_cell(schema, groups, request.max_rows_per_group, cells, filtered=query.where is not None)
    return QueryPlan(
        canonical_sql=canonical_sql(query),
        block_sql=block_sql(query, narrowed, measured, summed),
        keys=keys,
        columns=len(measured),
        measures=tuple(measures),
        max_groups=groups,
        max_rows=request.max_rows_per_group,
        threshold=threshold,
        outputs=outputs,
        accountant=request.accountant,
        price=_price(request, delta, threshold),
        epsilon=request.epsilon,
        delta=delta,
        forecast=forecast_of(outputs, tuple(measures), threshold, per_cell),
        max_groups_in_partial=cells if cells is not None else _partial_groups(keys, schema, groups, len(measures)),
    )


_ADDED = frozenset({Aggregate.SUM, Aggregate.AVG})


def _check_request(request: QueryRequest) -> None:
    for field, value, most in (
        ("max_groups_per_unit", request.max_groups_per_unit, MAX_GROUPS),
        ("max_rows_per_group", request.max_rows_per_group, MAX_ROWS),
    ):
        if type(value) is not int or not 1 <= value <= most:
            where = {"field": f"bounds.{field}"}
            raise Invalid("bounds.invalid", f"{field} is a whole number from 1 to {most}", where=where)


def _key(query: Query, column: Column) -> KeyColumn:
    name = next(o.name for o in query.outputs if isinstance(o, KeyOutput) and o.column == column.name)
    size = max_bytes(column)
    if size is None or size > MAX_KEY_BYTES:
        raise Invalid(
            "keys.unbounded",
            f"{column.name} may hold texts of any length and cannot be a group key",
            where={"field": "query"},
            way_out=f"ask the data operator to declare max_length for {column.name}",
        )
    if column.public and column.type in _LISTABLE and (domain_size(column) or 0) > MAX_CELLS:
        raise _too_many_cells()
    return KeyColumn(name, column.name, column.type, column.scale, size, domain_of(column))


_LISTABLE = frozenset({ColumnType.CATEGORY, ColumnType.BOOL, ColumnType.INT, ColumnType.DATE})


def _cells(keys: tuple[KeyColumn, ...]) -> int:
    cells = 1
    for key in keys:
        cells *= len(key.values or ())
    if cells > MAX_CELLS:
        raise _too_many_cells()
    return cells


def _too_many_cells() -> Invalid:
    return Invalid(
        "keys.too_many",
        f"the public keys together have more than {MAX_CELLS} combinations, and every one would be shown",
        where={"field": "query"},
        way_out="group by fewer columns, or by columns with fewer declared values",
    )


def _delta(request: QueryRequest, schema: TableSchema, *, public: bool) -> Fraction:
    """The δ of the job: the one asked, else 10^-(ceil(log10(units)) + 4); 0 where nothing needs one."""
    if public and request.accountant is Accountant.BASIC:
        return Fraction(0)
    if request.delta is None:
        return Fraction(1, 10 ** (len(str(schema.units - 1)) + 4)) if schema.units > 1 else Fraction(1, 10**4)
    if request.delta <= 0:
        raise Invalid(
            "delta.required",
            "group keys that are not public, and zcdp accounting, need a δ above 0",
            where={"field": "delta"},
            way_out="leave delta out, or group by public columns",
        )
    return request.delta


def _shapes(
    query: Query, schema: TableSchema, measured: tuple[str, ...], cap: int
) -> tuple[list[Shape], dict[str, tuple[int, ...]]]:
    """The distinct measures that the outputs need, and which of them each output is made of."""
    shapes: list[Shape] = []
    made_of: dict[str, tuple[int, ...]] = {}
    for value in query.values:
        needed = _needed(value, schema, measured, cap)
        shapes.extend(shape for shape in needed if shape not in shapes)
        made_of[value.name] = tuple(shapes.index(shape) for shape in needed)
    return shapes, made_of


def _needed(value: ValueOutput, schema: TableSchema, measured: tuple[str, ...], cap: int) -> list[Shape]:
    if value.aggregate is Aggregate.ROWS:
        return [(MeasureKind.ROWS, None, 0, cap)]
    if value.aggregate is Aggregate.UNITS:
        return [(MeasureKind.UNITS, None, 0, 1)]
    index, column = measured.index(value.column or ""), schema.column(value.column or "")
    # A column without NULL holds a value in every row: both counts are one measure, and one price.
    held: Shape = (MeasureKind.NONNULL, index, 0, cap) if column.nullable else (MeasureKind.ROWS, None, 0, cap)
    if value.aggregate is Aggregate.NONNULL:
        return [held]
    lower, upper = bounds_of(column)
    centre = centre_of(lower, upper) if value.aggregate is Aggregate.AVG else 0
    most = max(abs(lower - centre), abs(upper - centre))
    added: Shape = (MeasureKind.SUM, index, centre, cap * most)
    return [added] if value.aggregate is Aggregate.SUM else [added, held]


def _check_total(rows: int, groups: int, linf: int) -> None:
    """No honest total may come near 2^62, where the gate clamps and the noise saturates (design R3)."""
    if linf < 1:
        raise Invalid("bounds.invalid", "the declared bounds of a column are equal: there is nothing to add up")
    if max(rows, groups) * linf > MAX_TOTAL:
        raise Invalid(
            "plan.too_large",
            "the totals of this query could exceed 64-bit integers",
            where={"field": "bounds.max_rows_per_group"},
            way_out="lower max_rows_per_group, or ask the data operator for narrower bounds",
        )


def _mechanisms(
    request: QueryRequest, shapes: list[Shape], groups: int, delta: Fraction, *, public: bool
) -> tuple[KeyThreshold | None, list[Noise | None]]:
    """One mechanism per measure, and one for the keys; each has the same share, and OpenDP's prices sum to at most ε."""
    basic = request.accountant is Accountant.BASIC
    kind = NoiseKind.LAPLACE if basic else NoiseKind.GAUSSIAN
    paid = [shape for shape in shapes if public or shape[0] is not MeasureKind.UNITS]
    total = request.epsilon if basic else rho_for(request.epsilon, delta / 2)
    share = total / (len(paid) + (0 if public else 1))
    if share <= 0:
        raise Invalid("epsilon.invalid", "epsilon is too small to be split over this query", where={"field": "epsilon"})
    threshold = None if public else KeyThreshold.fit(kind, groups, share, delta if basic else delta / 2)
    noises: list[Noise | None] = []
    for shape in shapes:
        linf = shape[3]
        noises.append(
            Noise.fit(kind, l0=groups, l1=groups * linf, l2_squared=groups * linf**2, linf=linf, share=share)
            if shape in paid
            else None
        )
    return threshold, noises


def _price(request: QueryRequest, delta: Fraction, threshold: KeyThreshold | None) -> Loss:
    """What the ledger is charged: exactly what was asked, whatever the mechanisms leave of it."""
    asked = loss_of(request.accountant, request.epsilon, delta)
    return asked if threshold is not None else Loss(epsilon=asked.epsilon, rho=asked.rho)


def _outputs(query: Query, schema: TableSchema, made_of: dict[str, tuple[int, ...]]) -> Iterator[OutputColumn]:
    for output in query.outputs:
        if isinstance(output, KeyOutput):
            column = schema.column(output.column)
            key = query.keys.index(output.column)
            yield OutputColumn(output.name, None, column.type.value, key, (), column.scale, 0, 0)
            continue
        scale, lower, upper, kind = 0, 0, 0, "int"
        if output.column is not None and output.aggregate in _ADDED:
            column = schema.column(output.column)
            scale = column.scale if column.type is ColumnType.DECIMAL else 0
            lower, upper = bounds_of(column)
            kind = "int" if output.aggregate is Aggregate.SUM and scale == 0 else "decimal"
        yield OutputColumn(output.name, output.aggregate, kind, None, made_of[output.name], scale, lower, upper)


def _partial_groups(keys: tuple[KeyColumn, ...], schema: TableSchema, groups: int, width: int) -> int:
    """The most groups that an honest block can hold, so that no honest partial is ever cut off (design R9)."""
    most = min(EXCESS * min(schema.rows, schema.units * groups), _listable_groups(keys, schema))
    size = HEAD_BYTES + most * (2 + sum(key.max_bytes for key in keys) + VALUE_BYTES * width)
    if most > MAX_PARTIAL_GROUPS or size > MAX_PARTIAL_BYTES:
        raise Invalid(
            "keys.too_many",
            "these keys could form more groups than a query may carry",
            where={"field": "query"},
            way_out="group by fewer or coarser columns, lower max_groups_per_unit, or ask for a shorter max_length",
        )
    return most


def _listable_groups(keys: tuple[KeyColumn, ...], schema: TableSchema) -> int:
    """How many groups the declared values of the keys can form; more than any partial holds where they cannot be listed."""
    product = 1
    for key in keys:
        column = schema.column(key.column)
        size = domain_size(column)
        if size is None:
            return 2**62
        product *= size + column.nullable
    return product
