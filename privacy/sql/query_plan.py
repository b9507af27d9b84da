"""What a planned query is: everything that container, gate and ledger need, and nothing that depends on data (design R10).

A plan whose mechanisms cost more than its price, or hide less than a unit can change, cannot be built, nor read back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from privacy.accountant import Accountant, Loss, rho_for
from privacy.histogram import Tree
from privacy.mechanisms import Noise, NoiseKind
from privacy.reach import Reach
from privacy.sql.aggregates import Aggregate
from privacy.sql.block_views import View
from privacy.sql.bounds import Adds, Measured
from privacy.sql.held import Held, Kind
from privacy.sql.partial_bytes import SetShape, Shape
from privacy.sql.postprocess import PostProcessing
from privacy.sql.row_columns import KeyColumn
from privacy.thresholds import KeyThreshold

SCHEMA = "banyan.query_plan/2"
MAX_TOTAL = 2**62 - 1  # what any total is clamped to; a query whose honest totals could reach it is refused
MAX_SHOWN = 2**53 - 1  # the largest number in a released table: beyond it JSON numbers lose digits
VALUE_HEAD = 5  # bytes before a key's value in a partial
_FORMS = {Kind.TEXT: "text", Kind.TRUTH: "boolean", Kind.DAY: "date", Kind.MOMENT: "timestamp"}


@dataclass(frozen=True)
class Vector:
    """What one mechanism puts noise on, for each group.

    Attributes:
        measures: places of the measures whose totals it has, each times its weight; of one measure of bins the nodes of a tree.
        weights: whole numbers.
        reach: what one unit changes in one group, all weighed.
    """

    measures: tuple[int, ...]
    weights: tuple[int, ...]
    reach: Reach


@dataclass(frozen=True)
class Part:
    """One number of a group's noisy vector: which vector, and which of its measures."""

    vector: int
    place: int = 0


@dataclass(frozen=True)
class Made:
    """How a value of the noisy table is made of noisy numbers.

    Attributes:
        aggregate: what was asked.
        parts: a count, a sum, or the tree of a QUANTILE; the count and the sum of an AVG; count, sum and squares of a VAR or STDDEV.
        scale: decimal digits of the argument's grid, on which the next three are.
        low, high: what the argument was clamped to.
        centre: what was taken from it.
        parameter: the rank of a QUANTILE.
    """

    aggregate: Aggregate
    parts: tuple[Part, ...]
    scale: int = 0
    low: int = 0
    high: int = 0
    centre: int = 0
    parameter: Fraction | None = None


@dataclass(frozen=True)
class PlannedKey:
    """A group key: its form in the rows, and of a whole number the range that its public domain lies in (`count` 0: any)."""

    column: KeyColumn
    low: int = 0
    count: int = 0


@dataclass(frozen=True)
class SetPlan:
    """One grouping set: a measurement of its own, with its own bound, share and noise (design R7).

    Attributes:
        keys: places of its keys.
        max_groups: groups of one unit that count (L0).
        domain: held values of its keys, row by row in the order shown, where all are public; None where a threshold decides.
        threshold: what lets a key pass, where there is no domain.
        noises: for each vector its noise; None where it is not released, and for the distinct units that the threshold measures.
        most_groups, most_values: what a partial may hold of it.
    """

    keys: tuple[int, ...]
    max_groups: int
    domain: tuple[tuple[Held, ...], ...] | None
    threshold: KeyThreshold | None
    noises: tuple[Noise | None, ...]
    most_groups: int
    most_values: int = 0

    def __post_init__(self) -> None:
        if (self.domain is None) == (self.threshold is None):
            raise ValueError("the keys of a grouping set are public, or pass a threshold")
        if self.threshold is not None and self.threshold.l0 < self.max_groups:
            raise ValueError("the threshold is for fewer groups of a unit than count")


@dataclass(frozen=True)
class QueryPlan:
    """A planned query; a function of request and declarations only. The price is what the ledger is charged, exactly.

    Attributes:
        views: the stored tables, as `block_sql` reads them.
        keys: all keys of all sets.
        values: how many value columns the rows have.
        measures: what the pass adds up for each group of each set.
        max_rows: rows of one unit that count in a group (cap).
        vectors: what noise is put on, in every set.
        made: how the values of the noisy table follow; `post` says what is shown of them.
        epsilon, delta: the guarantee of this query by itself.
        tips: for who asked.
    """

    canonical_sql: str
    block_sql: str
    views: tuple[View, ...]
    keys: tuple[PlannedKey, ...]
    values: int
    measures: tuple[Measured, ...]
    max_rows: int
    vectors: tuple[Vector, ...]
    sets: tuple[SetPlan, ...]
    made: tuple[Made, ...]
    post: PostProcessing
    accountant: Accountant
    price: Loss
    epsilon: Fraction
    delta: Fraction
    tips: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.post.columns) != len(self.keys) + len(self.made):
            raise ValueError("the noisy table has other columns than the plan")
        if any(len(each.noises) != len(self.vectors) for each in self.sets):
            raise ValueError("every vector has its noise, or none")
        for each in self.sets:
            _check_reach(each, self.vectors)
        if any(each.threshold is not None for each in self.sets) and self.units is None:
            raise ValueError("a threshold needs the distinct units of each group")
        _check_price(self)

    @property
    def units(self) -> int | None:
        """The place of the measure of all distinct units, which thresholds look at."""
        return next((at for at, each in enumerate(self.measures) if each == Measured(Adds.UNITS)), None)

    @property
    def mechanisms(self) -> tuple[Noise | KeyThreshold, ...]:
        """Every mechanism of the release: for each set the threshold first."""
        found: list[Noise | KeyThreshold] = []
        for each in self.sets:
            found += [] if each.threshold is None else [each.threshold]
            found += [noise for noise in each.noises if noise is not None]
        return tuple(found)

    @cached_property
    def shape(self) -> Shape:
        """What the gate lets pass as a partial of this plan."""
        facts = self.post.columns
        forms = [
            (_FORMS.get(facts[at].kind, "integer"), VALUE_HEAD + key.column.max_bytes)
            for at, key in enumerate(self.keys)
        ]
        return Shape(
            measures=tuple(
                (each.adds.value, 0 if each.adds is Adds.DISTINCT else each.columns) for each in self.measures
            ),
            sets=tuple(
                SetShape(tuple(forms[at] for at in each.keys), each.most_groups, each.most_values) for each in self.sets
            ),
        )

    def tree_of(self, vector: Vector) -> Tree | None:
        """The tree whose nodes the vector has, of a measure of bins."""
        measure = self.measures[vector.measures[0]]
        return Tree(measure.columns) if measure.adds is Adds.BINS else None


def _check_reach(planned: SetPlan, vectors: Iterable[Vector]) -> None:
    groups = planned.max_groups
    for vector, noise in zip(vectors, planned.noises, strict=True):
        reach = vector.reach
        if noise is not None and not (
            noise.l1 >= groups * reach.l1
            and noise.l2_squared >= groups * reach.l2_squared
            and noise.l0 >= groups * reach.entries
            and noise.linf >= reach.linf
        ):
            raise ValueError("a noise was fitted to less than one unit can change")


def _check_price(plan: QueryPlan) -> None:
    """All prices of OpenDP's add up to at most the charge, as exact rationals, in one currency (design R13)."""
    kinds = {mechanism.kind for mechanism in plan.mechanisms}
    if len(kinds) > 1:
        raise ValueError("one query uses one kind of noise")
    if not kinds:
        raise ValueError("a query without mechanisms releases nothing")
    spent = sum((mechanism.price for mechanism in plan.mechanisms), Fraction(0))
    delta = sum((each.threshold.delta for each in plan.sets if each.threshold is not None), Fraction(0))
    price, most_delta = plan.price, plan.price.delta
    if kinds == {NoiseKind.LAPLACE}:
        most = price.epsilon
    elif plan.accountant is Accountant.ZCDP:
        most = price.rho
    else:  # the whole query's ρ is converted once, with half of its δ
        most_delta = price.delta / 2
        most = rho_for(price.epsilon, most_delta)
    if spent > most or delta > most_delta:
        raise ValueError("the mechanisms cost more than the price")
