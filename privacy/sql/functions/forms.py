"""Bringing several arguments to one form before they meet: numbers to the finest grid of them, dates to midnight among moments."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import starmap
from typing import Any

from privacy.sql.ends import Interval, fits, multiplied
from privacy.sql.facts import SMALL_BITS, WHOLE, WIDE_BITS, Facts, Unfit
from privacy.sql.held import DAY_MICROSECONDS, Kind

_MOMENTS = frozenset({Kind.DAY, Kind.MOMENT})


def numbers(args: Sequence[Facts], name: str) -> None:
    """Raises Unfit where an argument is not a number."""
    for facts in args:
        if facts.kind is not Kind.NUMBER:
            raise Unfit(
                f"{name} takes numbers, not a {facts.kind}", "use a numeric column, or CAST(x AS DECIMAL(18, 2))"
            )


def of_kind(args: Sequence[Facts], kind: Kind, name: str) -> None:
    """Raises Unfit where an argument is of another kind."""
    for facts in args:
        if facts.kind is not kind:
            raise Unfit(f"{name} takes a {kind} here, not a {facts.kind}", f"give it a {kind}")


def constant(facts: Facts, name: str, what: str) -> int:
    """The whole number that an argument always is. Raises Unfit where it is none."""
    if facts.kind is not Kind.NUMBER or facts.scale or facts.nullable or facts.low is None or facts.low != facts.high:
        raise Unfit(f"{name} needs {what} written as a whole number", f"write {what} as a number, such as 2")
    return facts.low


def factors(args: Sequence[Facts]) -> tuple[int, ...]:
    """What each held value is multiplied by so that equal values are equal whole numbers (1 for texts and truth).

    Raises Unfit where the arguments cannot be brought together, or one of them would need more than 126 bits.
    """
    kinds = {facts.kind for facts in args}
    if Kind.NOTHING in kinds:
        raise Unfit("NULL equals nothing, so this is never true", "write IS NULL or IS NOT NULL")
    if len(kinds) > 1 and kinds != _MOMENTS:
        first, *others = sorted(kinds)
        raise Unfit(f"a {first} does not go with a {others[0]}", f"CAST one of them, or use two of type {first}")
    scale = max(facts.scale for facts in args)
    if kinds == _MOMENTS:
        found = tuple(DAY_MICROSECONDS if facts.kind is Kind.DAY else 1 for facts in args)
    else:
        found = tuple(10 ** (scale - facts.scale) for facts in args)
    for facts, factor in zip(args, found, strict=True):
        if facts.kind in WHOLE and not fits(grown(facts, factor), WIDE_BITS):
            reason = f"one value could need more than {WIDE_BITS} bits beside the other"
            raise Unfit(reason, "ROUND the finer one, or bound the larger one", "sql.too_wide")
    return found


def grown(facts: Facts, factor: int) -> Interval:
    """The ends of a held value times `factor`."""
    return multiplied(facts.ends, (factor, factor))


def is_wide(several: Iterable[Interval]) -> bool:
    """Whether any of these needs HUGEINT."""
    return not all(fits(each, SMALL_BITS) for each in several)


def times_factor(text: str, facts: Facts, factor: int, *, wide: bool | None = None) -> str:
    """DuckDB's text of a held value times `factor`; HUGEINT where `wide`, which is where it must be if not told."""
    if facts.kind not in WHOLE:
        return text
    if wide is None:
        wide = is_wide([grown(facts, factor)])
    if wide and facts.fits(SMALL_BITS):
        text = f"CAST({text} AS HUGEINT)"
    return text if factor == 1 else f"({text} * {factor})"


def together(texts: Sequence[str], args: Sequence[Facts]) -> tuple[str, ...]:
    """DuckDB's texts of the arguments, comparable with each other."""
    return tuple(starmap(times_factor, zip(texts, args, factors(args), strict=True)))


def compared(args: Sequence[Facts]) -> tuple[Callable[[Any], Any], ...]:
    """For each argument, what makes of a held value (not NULL) one that orders as in DuckDB: texts go by their UTF-8 bytes."""
    return tuple(
        str.encode if facts.kind is Kind.TEXT else partial(operator.mul, factor)
        for facts, factor in zip(args, factors(args), strict=True)
    )


def cast_back(text: str, result: Facts, *, wide: bool) -> str:
    """A number that was computed in HUGEINT, in the type of the result."""
    return f"CAST({text} AS BIGINT)" if wide and result.fits(SMALL_BITS) else text


def as_result(text: str, facts: Facts, result: Facts) -> str:
    """DuckDB's text of an argument in the form of a result that unites it with others: its grid, its type."""
    if facts.kind is not Kind.NUMBER:
        return text
    factor = 10 ** (result.scale - facts.scale)
    wide = is_wide([result.ends])
    # A narrow result of a wide argument is a bounded one: the caller casts the whole.
    return times_factor(text, facts, factor, wide=wide or is_wide([grown(facts, factor)]))


def any_nullable(args: Sequence[Facts]) -> bool:
    """Whether any argument can be NULL."""
    return any(facts.nullable for facts in args)
