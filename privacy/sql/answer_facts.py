"""What is known, before any noise is drawn, of the values that an answer is made from: what expressions over aggregates are typed by."""

from __future__ import annotations

from dataclasses import replace

from privacy.sql.aggregates import AVG_SCALE, Aggregate
from privacy.sql.asked import Asked, Grouping
from privacy.sql.ends import rescaled
from privacy.sql.facts import Facts, number

TOTAL = 2**62 - 1  # no total leaves the gate beyond it
_COUNTS = frozenset({Aggregate.ROWS, Aggregate.NONNULL, Aggregate.UNITS, Aggregate.VALUES})
_INSIDE = frozenset({Aggregate.AVG, Aggregate.QUANTILE})


def value_facts(asked: Asked, argument: Facts | None) -> Facts:
    """Facts of a noisy value. Counts are whole and not negative; sums lie on the argument's grid; others on AVG_SCALE digits or finer."""
    if asked.aggregate in _COUNTS or argument is None:
        return number((0, TOTAL), 0, nullable=False)
    if asked.aggregate is Aggregate.SUM:
        return number((-TOTAL, TOTAL), argument.scale, nullable=False)
    scale = max(argument.scale, AVG_SCALE)
    if asked.aggregate in _INSIDE:
        return number(rescaled(argument.ends, scale - argument.scale), scale, nullable=True)
    return number((0, TOTAL), scale, nullable=True)


def table_facts(grouping: Grouping) -> tuple[Facts, ...]:
    """Facts of the noisy table: keys, then values. A key that is not in every grouping set is NULL in the others."""
    several = len(grouping.sets) > 1
    keys = [replace(facts, nullable=True) if several else facts for facts in grouping.key_facts]
    values = map(value_facts, grouping.values, grouping.argument_facts)
    return (*keys, *values)
