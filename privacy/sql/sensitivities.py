"""Which numbers a query needs of each group, how far one unit can move them, and which are too large to protect or to show.

Sensitivities are taken on the integer grid, after clamping, centring and weighing (design R3); docs/proofs/bounding.md,
variance.md and quantile.md show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from core.errors import Invalid
from privacy.histogram import MOST_BINS, Bins, Tree
from privacy.moments import Moments
from privacy.reach import Reach, plain
from privacy.sql.aggregates import Aggregate
from privacy.sql.asked import Asked, Grouping
from privacy.sql.bounds import Adds, Measured
from privacy.sql.clip_ends import Ends
from privacy.sql.facts import Facts
from privacy.sql.held import Kind
from privacy.sql.query_plan import MAX_SHOWN, MAX_TOTAL, Made, Part, Vector
from privacy.sql.row_columns import value_places

MAX_SAMPLE = 1_024  # distinct values of one unit that the pass can keep in a group
MAX_NODES = 1_000_000  # numbers of all histograms together that are given noise
FEWEST_BINS = 16
_FAR = 64  # noise stays within this many scales but for a chance below e^-60
_MOMENTS = frozenset({Aggregate.VAR_POP, Aggregate.VAR_SAMP, Aggregate.STDDEV_POP, Aggregate.STDDEV_SAMP})
UNITS = Measured(Adds.UNITS)
ROWS = Measured(Adds.ROWS)


@dataclass(eq=False)
class Needs:
    """What a grouping needs, as it is collected: measures, vectors of them, and how each value is made."""

    cap: int
    rows: int
    measures: list[Measured] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    _parts: dict[Measured, Part] = field(default_factory=dict)

    def plain(self, measure: Measured, per_row: int) -> Part:
        """The part with this number, in a vector of its own unless another one has it: what is measured once is paid once."""
        if measure not in self._parts:
            _check_total(self.rows, self.cap, per_row)
            linf = {Adds.UNITS: 1, Adds.DISTINCT: measure.k}.get(measure.adds, self.cap * per_row)
            self._add((measure,), (1,), plain(linf))
        return self._parts[measure]

    def moments(self, count: Measured, value: int, low: int, high: int) -> tuple[Part, ...]:
        """The parts of a variance, together in one vector."""
        centre = centre_of(low, high)
        found = Moments(max(1, _most(low, high, centre)))
        _check_total(self.rows, self.cap, found.most**2)
        parts = tuple(Measured(adds, value, low, high, centre) for adds in (Adds.SUM, Adds.SQUARES))
        if parts[1] not in self._parts:
            self._add((count, *parts), found.weights, found.reach(self.cap))
        vector = self._parts[parts[1]].vector
        return tuple(Part(vector, place) for place in range(3))

    def tree(self, value: int, bins: Bins) -> Part:
        """The histogram that all quantiles of a value share."""
        measure = Measured(Adds.BINS, value, bins.low, bins.high, step=bins.step)
        if measure not in self._parts:
            _check_total(self.rows, self.cap, 1)
            self._add((measure,), (1,), Tree(bins.count).reach(self.cap))
        return self._parts[measure]

    def _add(self, measures: Sequence[Measured], weights: tuple[int, ...], reach: Reach) -> None:
        places = tuple(map(self._place, measures))
        for place, measure in enumerate(measures):
            self._parts.setdefault(measure, Part(len(self.vectors), place))
        self.vectors.append(Vector(places, weights, reach))

    def _place(self, measure: Measured) -> int:
        if measure not in self.measures:
            self.measures.append(measure)
        return self.measures.index(measure)


def needs_of(grouping: Grouping, ends: Sequence[Ends | None], *, cap: int, cells: int, thresholds: bool) -> Needs:
    """What the values of a grouping need.

    ends        for each value what its argument is clamped to (`clip_ends.ends_of`)
    cells       most groups of all sets together that are shown: of them quantiles have the fewer bins the more there are
    thresholds  whether some set's keys pass a threshold, which looks at distinct units

    Raises Invalid (`plan.too_large`) for what cannot be protected.
    """
    found = Needs(cap, grouping.source.rows)
    described = list(zip(grouping.values, grouping.argument_facts, value_places(grouping), ends, strict=True))
    histograms = {(place, clamp) for asked, _, place, clamp in described if asked.aggregate is Aggregate.QUANTILE}
    most_bins = _most_bins(cells * max(1, len(histograms)))
    # Variances first: their vectors hold counts and sums that others then need not buy again.
    made: dict[int, Made] = {}
    for variances in (True, False):
        for at, (asked, facts, place, clamp) in enumerate(described):
            if (asked.aggregate in _MOMENTS) is variances:
                made[at] = _made(found, _Value(asked, facts, place, clamp), most_bins)
    found.made = [made[at] for at in range(len(made))]
    if thresholds and UNITS not in found.measures:
        found.plain(UNITS, 1)
    return found


def centre_of(low: int, high: int) -> int:
    """What AVG and VAR take from every value, so that noise grows with half the range and not with its distance from 0."""
    return (low + high) // 2


def check_shown(made: Made, rows: int, scale: Fraction) -> None:
    """No sum may come near 2^53 as it is shown, where a JSON number begins to lose digits. `scale` is that of its noise."""
    if made.aggregate is not Aggregate.SUM:
        return
    largest = rows * _most(made.low, made.high, made.centre) + _FAR * scale
    if largest > MAX_SHOWN * 10**made.scale:
        raise Invalid(
            "plan.too_large",
            "a sum could exceed the largest number that a released table can hold",
            where={"field": "query"},
            way_out="clip what is added up to narrower bounds, or ask for AVG",
        )


@dataclass(frozen=True)
class _Value:
    asked: Asked
    facts: Facts | None
    place: int | None
    ends: Ends | None

    @property
    def count(self) -> Measured:
        """How many values there are. What is never NULL is counted as the rows are: one measure, and one price."""
        if self.asked.condition is None and (self.facts is None or not self.facts.nullable):
            return ROWS
        return Measured(Adds.NONNULL, self.place)


def _made(needs: Needs, value: _Value, most_bins: int) -> Made:
    aggregate = value.asked.aggregate
    if aggregate in (Aggregate.ROWS, Aggregate.NONNULL):
        return Made(aggregate, (needs.plain(value.count, 1),))
    if aggregate is Aggregate.UNITS:
        return Made(aggregate, (needs.plain(Measured(Adds.UNITS, value.place), 1),))
    if value.place is None or value.facts is None:
        raise ValueError(f"{aggregate} is of a value")
    if aggregate is Aggregate.VALUES:
        most = min(needs.cap, _listed(value.facts), MAX_SAMPLE)
        return Made(aggregate, (needs.plain(Measured(Adds.DISTINCT, value.place, k=most), 1),))
    if value.ends is None:
        raise ValueError(f"{aggregate} is of a number")
    (low, high), scale = value.ends, value.facts.scale
    if aggregate is Aggregate.QUANTILE:
        part = needs.tree(value.place, Bins.over(low, high, most_bins))
        return Made(aggregate, (part,), scale, low, high, parameter=value.asked.parameter)
    centre = 0 if aggregate is Aggregate.SUM else centre_of(low, high)
    if aggregate in _MOMENTS:
        parts = needs.moments(value.count, value.place, low, high)
        return Made(aggregate, parts, scale, low, high, centre)
    total = needs.plain(Measured(Adds.SUM, value.place, low, high, centre), _most(low, high, centre))
    parts = (total,) if aggregate is Aggregate.SUM else (needs.plain(value.count, 1), total)
    return Made(aggregate, parts, scale, low, high, centre)


def _most(low: int, high: int, centre: int) -> int:
    return max(abs(low - centre), abs(high - centre))


def _listed(facts: Facts) -> int:
    """How many values there can be."""
    if facts.values is not None:
        return max(1, len(facts.values))
    return MAX_SAMPLE if facts.kind is Kind.TEXT else facts.ends[1] - facts.ends[0] + 1


def _most_bins(cells: int) -> int:
    most = min(MOST_BINS, MAX_NODES // (2 * cells))
    if most < FEWEST_BINS:
        raise Invalid(
            "plan.too_large",
            "quantiles of so many groups would need more noise than one query can draw",
            where={"field": "query"},
            way_out="group by fewer or coarser keys, or ask for AVG and STDDEV",
        )
    return most


def _check_total(rows: int, cap: int, per_row: int) -> None:
    """No honest total may come near 2^62, where the gate clamps and the noise saturates (design R3)."""
    if max(rows, cap) * per_row > MAX_TOTAL:
        raise Invalid(
            "plan.too_large",
            "the totals of this query could exceed 64-bit integers",
            where={"field": "bounds.clip"},
            way_out="clip what is added up to narrower bounds, or ask the data operator to declare them",
        )
