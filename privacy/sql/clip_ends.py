"""What the values that a query adds up are clamped to: their own ends, or the narrower ones that the researcher asks for.

Values outside count as the nearer end, so narrower ends cost accuracy of the extremes and save noise; never privacy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from core.errors import Invalid
from privacy.sql.aggregates import Aggregate
from privacy.sql.asked import Answer, Asked, Grouping
from privacy.sql.ends import Interval
from privacy.sql.expressions import ColumnRef, columns_in
from privacy.sql.facts import Facts
from privacy.sql.held import Kind, shown, steps

Clip = tuple[tuple[str, Decimal, Decimal], ...]
Ends = Interval

_COUNTS = frozenset({Aggregate.ROWS, Aggregate.NONNULL, Aggregate.UNITS, Aggregate.VALUES})
_SHOWN = 60


def ends_of(answer: Answer, clip: Clip) -> tuple[Ends | None, ...]:
    """For each value of the grouping what its argument is clamped to, on the argument's grid; None for counts.

    A name of `clip` is that of an output, and means all that it adds up; or else that of a column that is added up.

    Raises Invalid (`bounds.clip`) for a name that adds nothing up, and for ends that are not within the argument's own.
    """
    grouping = answer.grouping
    found = [_own(*pair) for pair in zip(grouping.values, grouping.argument_facts, strict=True)]
    for name, lower, upper in clip:
        places = _outputs(answer, name) or _columns(grouping, name)
        places = [at for at in places if found[at] is not None]
        if not places:
            raise _refused(
                name, "the query adds up nothing of this name", "clip what is inside SUM, AVG, VAR or MEDIAN"
            )
        for at in places:
            found[at] = _narrowed(name, (lower, upper), grouping.argument_facts[at])
    return tuple(found)


def _own(asked: Asked, facts: Facts | None) -> Ends | None:
    if asked.aggregate in _COUNTS or facts is None or facts.kind is not Kind.NUMBER:
        return None
    return facts.ends


def _outputs(answer: Answer, name: str) -> list[int]:
    first = len(answer.grouping.keys)
    named = [output for output in answer.outputs if output.name.casefold() == name.casefold()]
    read = sorted({at - first for output in named for at in columns_in(output.expression)})
    return [at for at in read if 0 <= at < len(answer.grouping.values)]


def _columns(grouping: Grouping, name: str) -> list[int]:
    fields: Mapping[int, str] = {at: field.name.casefold() for at, field in enumerate(grouping.source.columns)}
    arguments: Sequence[Asked] = grouping.values
    return [
        at
        for at, asked in enumerate(arguments)
        if isinstance(asked.argument, ColumnRef) and fields[asked.argument.index] == name.casefold()
    ]


def _narrowed(name: str, asked: tuple[Decimal, Decimal], facts: Facts | None) -> Ends:
    if facts is None:
        raise ValueError("a value that is added up has facts")
    lowest, highest = facts.ends
    try:
        lower, upper = (steps(end, facts.scale) for end in asked)
    except ValueError:
        lower, upper = highest, lowest
    if not lowest <= lower < upper <= highest:
        form = f"numbers of at most {facts.scale} decimal digits" if facts.scale else "whole numbers"
        ends = (shown(end, facts.kind, facts.scale) for end in facts.ends)
        way_out = "ends from {} to {}".format(*ends)
        raise _refused(name, f"the ends must be {form}, the lower first, within those that are possible", way_out)
    return lower, upper


def _refused(name: str, text: str, way_out: str) -> Invalid:
    shown_name = name[:_SHOWN]
    return Invalid(
        "bounds.clip", f"{shown_name}: {text}", where={"field": f"bounds.clip.{shown_name}"}, way_out=way_out
    )
