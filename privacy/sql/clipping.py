"""Narrower bounds, as the researcher asks for them: values outside count as the nearer end, noise shrinks with the range."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from core.errors import Invalid
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.grid import bounds_of, on_grid
from privacy.sql.tree import ADDED, Query

Clip = tuple[tuple[str, Decimal, Decimal], ...]


def clipped(schema: TableSchema, clip: Clip, query: Query) -> TableSchema:
    """The schema with the asked ends as bounds of the columns that are added up. Keys and conditions keep the declared ones.

    Raises Invalid (`bounds.clip`) for a column that the query does not sum, and for ends that are not within the declared bounds.
    """
    summed = {value.column for value in query.values if value.aggregate in ADDED}
    ends = {name: (lower, upper) for name, lower, upper in clip}
    for name in ends:
        if name not in summed:
            raise _refused(name, "the query adds up no column of this name", "clip only columns inside SUM or AVG")
    return replace(schema, columns=tuple(_narrowed(column, ends.get(column.name)) for column in schema.columns))


def _narrowed(column: Column, ends: tuple[Decimal, Decimal] | None) -> Column:
    if ends is None:
        return column
    lower, upper = (int(end) if column.type is ColumnType.INT and end == int(end) else end for end in ends)
    try:
        lowest, highest = bounds_of(column)
        fits = lowest <= on_grid(lower, column) < on_grid(upper, column) <= highest
    except ValueError:
        fits = False
    if not fits:
        form = f"numbers of at most {column.scale} decimal digits" if column.scale else "whole numbers"
        text = f"the ends must be {form}, within the declared bounds"
        raise _refused(column.name, text, f"ends from {column.lower} to {column.upper}")
    return replace(column, lower=lower, upper=upper)


def _refused(column: str, text: str, way_out: str) -> Invalid:
    return Invalid(
        "bounds.clip", f"{column[:60]}: {text}", where={"field": f"bounds.clip.{column[:60]}"}, way_out=way_out
    )
