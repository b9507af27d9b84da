"""Which aggregates there are: exact ones inside a unit, and those asked of the final groups and answered with noise."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from privacy.sql.ends import Interval, hull, multiplied, rescaled
from privacy.sql.facts import Facts, Unfit, number
from privacy.sql.held import Kind

AVG_SCALE = 6  # fewest decimal digits of an average inside a unit


class Inner(StrEnum):
    """What is computed exactly inside a unit, before the final grouping."""

    ROWS = "count_rows"
    NONNULL = "count_values"
    VALUES = "count_distinct"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


COUNTS = frozenset({Inner.ROWS, Inner.NONNULL, Inner.VALUES})


class Aggregate(StrEnum):
    """What is asked of every final group, and answered with noise. MIN and MAX are quantiles near the ends."""

    ROWS = "count_rows"
    NONNULL = "count_values"
    UNITS = "count_units"
    VALUES = "count_distinct"
    SUM = "sum"
    AVG = "avg"
    VAR_POP = "var_pop"
    VAR_SAMP = "var_samp"
    STDDEV_POP = "stddev_pop"
    STDDEV_SAMP = "stddev_samp"
    QUANTILE = "quantile"


def inner_facts(inner: Inner, argument: Facts | None, rows: int, *, private: bool) -> Facts:
    """Facts of an exact aggregate over a group of at least one and at most `rows` rows. Raises Unfit where it cannot be held.

    AVG is rounded half away from zero, to the argument's grid or to AVG_SCALE digits, whichever is finer. MIN and MAX of texts
    go by their UTF-8 bytes. Only counts are never NULL.
    """
    if inner in COUNTS:
        counted = number((0, rows), 0, nullable=False)
        return replace(counted, reads_private=private)
    if argument is None or argument.kind is Kind.NOTHING:
        raise Unfit(f"{inner.upper()} needs a value", f"write {inner.upper()}(x)")
    if inner in (Inner.MIN, Inner.MAX):
        if argument.kind is Kind.TRUTH:
            raise Unfit(
                f"{inner.upper()} is not taken of true and false", "count them, such as COUNT(*) FILTER (WHERE x)"
            )
        return argument
    if argument.kind is not Kind.NUMBER:
        raise Unfit(f"{inner.upper()} adds numbers, not a {argument.kind}", "use COUNT, MIN or MAX")
    if inner is Inner.AVG:
        scale = max(argument.scale, AVG_SCALE)
        digits = scale - argument.scale
        low, high = rescaled(sum_ends(argument, rows), digits)
        number((2 * low - rows, 2 * high + rows), scale, nullable=True)  # what the quotient is computed from
        return number(rescaled(argument.ends, digits), scale, nullable=argument.nullable, of=(argument,))
    return number(sum_ends(argument, rows), argument.scale, nullable=argument.nullable, of=(argument,))


def sum_ends(argument: Facts, rows: int) -> Interval:
    """The ends of the sum of at least one and at most `rows` values, on their grid."""
    return hull(argument.ends, multiplied(argument.ends, (rows, rows)))
