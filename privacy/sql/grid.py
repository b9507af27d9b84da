"""The integer grid on which values are added: a DECIMAL by its declared digits, an INT as it is (design R3)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from privacy.schema import Bound, Column, ColumnType


def on_grid(value: Bound, column: Column) -> int:
    """A value of the column as a whole number of its smallest steps. Raises ValueError where it is none."""
    if column.type is ColumnType.INT and isinstance(value, int):
        return value
    if column.type is ColumnType.DECIMAL and isinstance(value, Decimal | int):
        steps: int = 10**column.scale
        scaled = Fraction(value) * steps
        if scaled.denominator == 1:
            return scaled.numerator
    raise ValueError(f"{column.name} holds no such number")


def bounds_of(column: Column) -> tuple[int, int]:
    """The declared bounds on the grid. Raises ValueError where there are none."""
    if column.lower is None or column.upper is None:
        raise ValueError(f"{column.name} has no bounds")
    return on_grid(column.lower, column), on_grid(column.upper, column)


def centre_of(lower: int, upper: int) -> int:
    """What AVG takes from every value, so that the noise grows with half the range and not with its distance from 0."""
    return (lower + upper) // 2
