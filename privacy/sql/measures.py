"""Which numbers a query needs from each group, how much one unit can change them, and which are too large to protect or show."""

from __future__ import annotations

from core.errors import Invalid
from privacy.schema import EXCESS, TableSchema
from privacy.sql.grid import bounds_of, centre_of
from privacy.sql.plan_model import MAX_SHOWN, MAX_TOTAL, Measure, MeasureKind, OutputColumn
from privacy.sql.tree import Aggregate, Query, ValueOutput

Shape = tuple[MeasureKind, int | None, int, int]  # kind, measured column, centre, linf
_UNITS: Shape = (MeasureKind.UNITS, None, 0, 1)
# Noise stays within this many scales but for a chance below e^-60.
_FAR = 64


def shapes_of(
    query: Query, schema: TableSchema, cap: int, *, public: bool
) -> tuple[list[Shape], dict[str, tuple[int, ...]]]:
    """The distinct measures that outputs and a key threshold need, and which of them each output is made of."""
    shapes: list[Shape] = []
    made_of: dict[str, tuple[int, ...]] = {}
    for value in query.values:
        needed = _needed(value, schema, query.measured, cap)
        shapes.extend(shape for shape in needed if shape not in shapes)
        made_of[value.name] = tuple(shapes.index(shape) for shape in needed)
    if not public and _UNITS not in shapes:
        shapes.append(_UNITS)
    return shapes, made_of


def _needed(value: ValueOutput, schema: TableSchema, measured: tuple[str, ...], cap: int) -> list[Shape]:
    if value.aggregate is Aggregate.ROWS:
        return [(MeasureKind.ROWS, None, 0, cap)]
    if value.aggregate is Aggregate.UNITS:
        return [_UNITS]
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


def check_total(rows: int, groups: int, shape: Shape) -> None:
    """No honest total may come near 2^62, where the gate clamps and the noise saturates (design R3)."""
    linf = shape[3]
    if linf < 1:
        raise Invalid("bounds.invalid", "the declared bounds of a column are equal: there is nothing to add up")
    if EXCESS * max(rows, groups) * linf > MAX_TOTAL:
        raise Invalid(
            "plan.too_large",
            "the totals of this query could exceed 64-bit integers",
            where={"field": "bounds.max_rows_per_group"},
            way_out="lower max_rows_per_group, or ask the data operator for narrower bounds",
        )


def check_shown(outputs: tuple[OutputColumn, ...], measures: tuple[Measure, ...], rows: int, cap: int) -> None:
    """No sum may come near 2^53 as it is shown, where a JSON number begins to lose digits."""
    for output in outputs:
        measure = measures[output.measures[0]] if output.aggregate is Aggregate.SUM else None
        if measure is None or measure.noise is None:
            continue
        largest = EXCESS * rows * (measure.linf // cap) + _FAR * measure.noise.scale
        if largest > MAX_SHOWN * 10**output.scale:
            raise Invalid(
                "plan.too_large",
                f"{output.name} could exceed the largest number that a released table can hold",
                where={"field": "query"},
                way_out="clip the column to narrower bounds, or ask for AVG",
            )
