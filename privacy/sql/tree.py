"""Our own small tree of a query: the only thing that SQL is ever emitted from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

Value = bool | int | Decimal | str | date | datetime


class Operator(StrEnum):
    """How two values are compared."""

    EQUAL = "="
    UNEQUAL = "<>"
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


@dataclass(frozen=True)
class Truth:
    """TRUE or FALSE as written."""

    value: bool


@dataclass(frozen=True)
class Compared:
    """A column against a literal that its type can hold exactly."""

    column: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class ColumnsCompared:
    """A column against another of the same kind."""

    left: str
    operator: Operator
    right: str


@dataclass(frozen=True)
class OneOf:
    """A column IN a list of literals; the list is sorted and without repeats."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Missing:
    """A column IS NULL."""

    column: str


@dataclass(frozen=True)
class Negation:
    """NOT, three-valued."""

    part: Predicate


@dataclass(frozen=True)
class Both:
    """AND of two or more parts, three-valued."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Either:
    """OR of two or more parts, three-valued."""

    parts: tuple[Predicate, ...]


Condition = Truth | Compared | ColumnsCompared | OneOf | Missing
Predicate = Condition | Negation | Both | Either


class Aggregate(StrEnum):
    """What a value column of the answer is."""

    ROWS = "count_rows"
    NONNULL = "count_values"
    UNITS = "count_units"
    SUM = "sum"
    AVG = "avg"


ADDED = frozenset({Aggregate.SUM, Aggregate.AVG})


@dataclass(frozen=True)
class KeyOutput:
    """A group column in the select list."""

    name: str
    column: str


@dataclass(frozen=True)
class ValueOutput:
    """An aggregate in the select list; `column` is None for COUNT(*) and COUNT(DISTINCT unit)."""

    name: str
    aggregate: Aggregate
    column: str | None


Output = KeyOutput | ValueOutput


@dataclass(frozen=True)
class Query:
    """One SELECT over one table: outputs in the order asked, keys in the order of GROUP BY, rows where `where` is TRUE."""

    table: str
    outputs: tuple[Output, ...]
    keys: tuple[str, ...]
    where: Predicate | None

    @property
    def values(self) -> tuple[ValueOutput, ...]:
        """The aggregates, in the order asked."""
        return tuple(output for output in self.outputs if isinstance(output, ValueOutput))

    @property
    def measured(self) -> tuple[str, ...]:
        """The columns inside aggregates, in the order in which the container counts them."""
        return tuple(dict.fromkeys(value.column for value in self.values if value.column is not None))
