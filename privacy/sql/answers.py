"""The values of the noisy table, made of noisy numbers: whole numbers on the grid that their facts say, always within their facts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from privacy.histogram import Bins, quantiles
from privacy.moments import variance
from privacy.sql.aggregates import Aggregate
from privacy.sql.facts import Facts
from privacy.sql.functions.rounding import half_away
from privacy.sql.held import Held
from privacy.sql.noised import NoisySet, NoisyTable
from privacy.sql.query_plan import Made, Part, QueryPlan

COUNTS = frozenset({Aggregate.ROWS, Aggregate.NONNULL, Aggregate.UNITS, Aggregate.VALUES})
SAMPLES = frozenset({Aggregate.VAR_SAMP, Aggregate.STDDEV_SAMP})
DEVIATIONS = frozenset({Aggregate.STDDEV_POP, Aggregate.STDDEV_SAMP})

Values = Sequence[int]


def answers(table: NoisyTable, plan: QueryPlan) -> list[tuple[Held, ...]]:
    """The rows of all grouping sets, one set after another: keys, then values, as `plan.post` takes them."""
    return [row for each in table.sets for row in rows_of_set(each, plan)]


def rows_of_set(each: NoisySet, plan: QueryPlan) -> list[tuple[Held, ...]]:
    """The rows of one grouping set."""
    facts = plan.post.columns[len(plan.keys) :]
    columns = [_values(made, known, each, plan) for made, known in zip(plan.made, facts, strict=True)]
    return [(*key, *(column[at] for column in columns)) for at, key in enumerate(each.keys)]


def _values(made: Made, facts: Facts, each: NoisySet, plan: QueryPlan) -> list[int]:
    if made.aggregate is Aggregate.QUANTILE:
        found = _quantiles(made, facts, each, plan)
    else:
        parts = [weighed(part, each, plan) for part in made.parts]
        found = _MADE.get(made.aggregate, _plain)(made, facts, parts)
    low, high = facts.ends
    return [min(max(value, low), high) for value in found]


def weighed(part: Part, each: NoisySet, plan: QueryPlan) -> tuple[Values, int]:
    """A part's noisy numbers, row by row, and the weight that is still on them. Raises ValueError where it is not released."""
    numbers = each.vectors[part.vector]
    if numbers is None:
        raise ValueError("a value is made of a vector that is not released")
    return numbers[:, part.place].tolist(), plan.vectors[part.vector].weights[part.place]


def bins_of(made: Made, plan: QueryPlan) -> Bins:
    """The bins under a quantile."""
    measure = plan.measures[plan.vectors[made.parts[0].vector].measures[0]]
    return Bins(measure.low, measure.high, measure.step)


def _plain(_made: Made, _facts: Facts, parts: Sequence[tuple[Values, int]]) -> list[int]:
    """A count or a sum. Counts are not negative: their facts begin at 0."""
    ((numbers, weight),) = parts
    return [half_away(number, weight) for number in numbers]


def _averages(made: Made, facts: Facts, parts: Sequence[tuple[Values, int]]) -> list[int]:
    """The centre and sum / max(count, 1), within the ends, rounded once."""
    (counts, weight), (sums, by) = parts
    gain = 10 ** (facts.scale - made.scale)
    low, high = made.low * gain, made.high * gain
    found = (
        made.centre * gain + half_away(total * weight * gain, by * max(count, weight))
        for count, total in zip(counts, sums, strict=True)
    )
    return [min(max(value, low), high) for value in found]


def _variances(made: Made, facts: Facts, parts: Sequence[tuple[Values, int]]) -> list[int]:
    counts, sums, squares = ([Fraction(number, weight) for number in numbers] for numbers, weight in parts)
    sample, widest = made.aggregate in SAMPLES, made.high - made.low
    found = (variance(n, s, q, widest, sample=sample) for n, s, q in zip(counts, sums, squares, strict=True))
    if made.aggregate in DEVIATIONS:
        gain = 10 ** (2 * (facts.scale - made.scale))
        return [_root(value * gain) for value in found]
    gain = Fraction(10**facts.scale, 10 ** (2 * made.scale))
    return [round(value * gain) for value in found]


def _root(square: Fraction) -> int:
    """The whole number nearest to the root."""
    return (math.isqrt(4 * square.numerator // square.denominator) + 1) // 2


def _quantiles(made: Made, facts: Facts, each: NoisySet, plan: QueryPlan) -> list[int]:
    vector = plan.vectors[made.parts[0].vector]
    tree, nodes = plan.tree_of(vector), each.vectors[made.parts[0].vector]
    if tree is None or nodes is None or made.parameter is None:
        raise ValueError("a quantile is of a released tree")
    gain = 10 ** (facts.scale - made.scale)
    found = quantiles(tree.consistent(nodes), bins_of(made, plan), float(made.parameter))
    return [min(max(round(Fraction(value) * gain), made.low * gain), made.high * gain) for value in found.tolist()]


_MADE: Mapping[Aggregate, Callable[[Made, Facts, Sequence[tuple[Values, int]]], list[int]]] = {
    Aggregate.AVG: _averages,
    Aggregate.VAR_POP: _variances,
    Aggregate.VAR_SAMP: _variances,
    Aggregate.STDDEV_POP: _variances,
    Aggregate.STDDEV_SAMP: _variances,
}
