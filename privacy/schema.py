"""What planning may know of a table: its declaration, never its data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

Bound = int | Decimal | date | datetime


class ColumnType(StrEnum):
    """The types a column can be declared with, and the only ones a block holds."""

    INT = "int"
    DECIMAL = "decimal"
    STRING = "string"
    CATEGORY = "category"
    BOOL = "bool"
    DATE = "date"
    TIMESTAMP = "timestamp"


NUMERIC = frozenset({ColumnType.INT, ColumnType.DECIMAL})
TEXTUAL = frozenset({ColumnType.STRING, ColumnType.CATEGORY})

EXCESS = 2  # a version may hold this many times the rows and units it declares; ingest refuses more


@dataclass(frozen=True)
class Column:
    """One declared column. `public` means that its values may be shown as group keys without a threshold.

    `lower` and `upper` are inclusive and of the column's own kind; `scale` is the number of decimal digits of a DECIMAL;
    `values` are those of a CATEGORY, in the order in which they are shown.
    """

    name: str
    type: ColumnType
    nullable: bool = False
    public: bool = False
    lower: Bound | None = None
    upper: Bound | None = None
    scale: int = 0
    values: tuple[str, ...] = ()
    max_length: int | None = None


@dataclass(frozen=True)
class TableSchema:
    """One declared table. `rows` and `units` are n_pub: declared, rounded, never the true figures (design R10)."""

    name: str
    unit: str
    columns: tuple[Column, ...]
    rows: int
    units: int

    def __post_init__(self) -> None:
        # DuckDB reads "ID" as the column id if there is one: the wrong column could become the unit.
        if len({column.name.casefold() for column in self.columns}) != len(self.columns):
            raise ValueError("two columns have one name, or names that differ in case only")
        if self.unit not in {column.name for column in self.columns}:
            raise ValueError("the unit column is not among the columns")
        if self.rows < 1 or self.units < 1:
            raise ValueError("rows and units are declared as positive numbers")

    def column(self, name: str) -> Column:
        """The column of exactly this name. Raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
