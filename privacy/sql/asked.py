"""What is asked of a relation: aggregates of one final grouping, and an answer that is made from their noisy values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

from privacy.sql.aggregates import Aggregate
from privacy.sql.algebra import Relation, facts_over
from privacy.sql.expressions import Expression
from privacy.sql.facts import Facts
from privacy.sql.functions import facts_of


@dataclass(frozen=True)
class Asked:
    """An aggregate over the rows of a group for which `condition` is TRUE (FILTER). `parameter` is the rank of a quantile."""

    aggregate: Aggregate
    argument: Expression | None
    condition: Expression | None = None
    parameter: Fraction | None = None


@dataclass(frozen=True)
class Key:
    """A group key: an expression over the grouped relation, and the name it has in the text."""

    name: str
    expression: Expression


@dataclass(frozen=True, eq=False)
class Grouping:
    """The one final GROUP BY. `sets` lists positions of `keys`; without keys there is one empty set. Raises ValueError otherwise."""

    source: Relation
    keys: tuple[Key, ...]
    sets: tuple[tuple[int, ...], ...]
    values: tuple[Asked, ...]

    def __post_init__(self) -> None:
        if not self.source.private:
            raise ValueError("what is released with noise comes from a private relation")
        places = range(len(self.keys))
        if not self.sets or any(list(each) != sorted(set(each) & set(places)) for each in self.sets):
            raise ValueError("a grouping set lists positions of keys, in order")

    @cached_property
    def key_facts(self) -> tuple[Facts, ...]:
        """Facts of the keys, over rows. Raises Unfit where one cannot be computed."""
        facts = facts_over(self.source)
        return tuple(facts_of(key.expression, facts) for key in self.keys)

    @cached_property
    def argument_facts(self) -> tuple[Facts | None, ...]:
        """Facts of the arguments of `values`, over rows; None where there is none. Raises Unfit as `key_facts`."""
        facts = facts_over(self.source)
        return tuple(None if asked.argument is None else facts_of(asked.argument, facts) for asked in self.values)


@dataclass(frozen=True)
class Output:
    """A column of the answer: an expression over the keys, then the values of the grouping, then the windows."""

    name: str
    expression: Expression


@dataclass(frozen=True)
class Order:
    """One term of ORDER BY."""

    expression: Expression
    descending: bool = False
    nulls_first: bool = False


class WindowFunction(StrEnum):
    """What is worked out over the rows of the noisy table that stand around each of them."""

    ROW_NUMBER = "row_number"
    RANK = "rank"
    DENSE_RANK = "dense_rank"
    LAG = "lag"
    LEAD = "lead"
    ROWS = "count_rows"
    NONNULL = "count_values"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Frame:
    """ROWS BETWEEN `before` PRECEDING AND `after` FOLLOWING; None is UNBOUNDED, 0 the current row, a negative number the other way."""

    before: int | None
    after: int | None


@dataclass(frozen=True)
class Window:
    """A window function with its OVER (…), over the keys and values of the grouping.

    Without a frame it is SQL's own: all rows of the partition, or with `order` those up to the last that sorts as the current one does.
    `offset` is how many rows LAG and LEAD look away.
    """

    function: WindowFunction
    argument: Expression | None = None
    partition: tuple[Expression, ...] = ()
    order: tuple[Order, ...] = ()
    frame: Frame | None = None
    offset: int = 1


@dataclass(frozen=True, eq=False)
class Answer:
    """What is shown: post-processing of the noisy table of `grouping`, which costs nothing.

    `outputs` and `order` are over the keys, the values and then the `windows`; `having` is over keys and values.
    """

    grouping: Grouping
    outputs: tuple[Output, ...]
    having: Expression | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    windows: tuple[Window, ...] = ()
