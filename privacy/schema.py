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
class Reference:
    """Columns whose values stand, as a key, in another asset of the same population (`asset` is its full name)."""

    columns: tuple[str, ...]
    asset: str
    key: tuple[str, ...]


@dataclass(frozen=True)
class TableSchema:
    """One declared table. `rows` and `units` are n_pub: declared, rounded, never the true figures (design R10).

    `keys` are sets of columns of which no two rows of a version agree in all: of a private table, each determines the unit; ingest
    refuses a version that breaks one, or that gives a unit more than `rows_per_unit` rows. `unit_type` is the declared type
    of the unit column, which blocks hold as text. Columns of `references` determine the unit too: the referred key does.
    """

    name: str
    unit: str
    columns: tuple[Column, ...]
    rows: int
    units: int
    keys: tuple[tuple[str, ...], ...] = ()
    rows_per_unit: int | None = None
    unit_type: ColumnType | None = None
    references: tuple[Reference, ...] = ()

    def __post_init__(self) -> None:
        # DuckDB reads "ID" as the column id if there is one: the wrong column could become the unit.
        if len({column.name.casefold() for column in self.columns}) != len(self.columns):
            raise ValueError("two columns have one name, or names that differ in case only")
        if self.unit not in {column.name for column in self.columns}:
            raise ValueError("the unit column is not among the columns")
        if self.rows < 1 or self.units < 1:
            raise ValueError("rows and units are declared as positive numbers")
        if self.rows_per_unit is not None and self.rows_per_unit < 1:
            raise ValueError("rows per unit are declared as a positive number")
        self._check_keys()

    def _check_keys(self) -> None:
        """NULL equals nothing: rows without a key would be told apart by none, and belong to no unit by it."""
        required = {column.name for column in self.columns if not column.nullable}
        for columns in self.keys:
            if not columns or len(set(columns)) != len(columns) or not required.issuperset(columns):
                raise ValueError("a key is a list of different columns that are never NULL")
        names = {column.name for column in self.columns}
        for reference in self.references:
            if (
                not reference.columns
                or len(reference.columns) != len(reference.key)
                or not names.issuperset(reference.columns)
            ):
                raise ValueError("a reference pairs columns of this table with those of a key")

    def column(self, name: str) -> Column:
        """The column of exactly this name. Raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
