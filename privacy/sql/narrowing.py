"""Between which ends columns lie in the rows that WHERE lets through: for bounds and domains of the final grouping only.

Only conjuncts that are comparisons narrow, since every row that is grouped makes them TRUE; `x <= 5 OR y` says nothing of x. What is
emitted keeps the declared facts: DuckDB may compute a part of the query before it filters. Nothing here depends on rows (design R10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from privacy.sql.aggregates import inner_facts
from privacy.sql.algebra import Constant, Relation, Scan, Stacked, Summary, facts_over
from privacy.sql.asked import Grouping
from privacy.sql.conjuncts import moved
from privacy.sql.effort import Effort
from privacy.sql.ends import Interval, hull
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Call, ColumnRef, Expression, columns_in, size
from privacy.sql.facts import WHOLE, Facts, Unfit, united
from privacy.sql.flattening import Flat, Source, flattened
from privacy.sql.functions import facts_of
from privacy.sql.functions.forms import factors
from privacy.sql.held import held

MAX_STEPS = 500_000  # parts of conditions times the listed values that they are computed on
_SWAPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}


def narrowed_arguments(grouping: Grouping) -> tuple[Facts | None, ...]:
    """Facts of the arguments of the grouping's values in the rows that are grouped, on their declared grids; None where there is none.

    Raises Unfit as `Grouping.argument_facts`.
    """
    flat = flattened(grouping.source)
    facts = flat_facts(flat)
    columns = dict(enumerate(flat.columns))
    return tuple(
        None
        if asked.argument is None or known is None
        else known_of(moved((asked.argument,), columns)[0], facts, known)
        for asked, known in zip(grouping.values, grouping.argument_facts, strict=True)
    )


def known_of(expression: Expression, columns: Sequence[Facts], declared: Facts) -> Facts:
    """Facts of an expression over narrowed columns, no wider than declared; as declared where the narrow ones do not agree with them."""
    try:
        found = facts_of(expression, columns)
    except Unfit:
        return declared
    if (found.kind, found.scale) != (declared.kind, declared.scale):
        return declared
    values = declared.values if found.values is None else found.values
    nullable = declared.nullable and found.nullable
    if found.kind not in WHOLE:
        return replace(declared, values=values, nullable=nullable)
    low, high = _met(declared.ends, found.ends)
    return replace(declared, low=low, high=high, values=values, nullable=nullable)


def declared_facts(flat: Flat) -> tuple[Facts, ...]:
    """What is known of the flat columns before anything is filtered: what an expression over them is computed with."""
    found = list[Facts]()
    for source in flat.sources:
        facts = facts_over(source.relation)
        facts = facts if source.column is None else (facts[source.column],)
        found += (replace(each, nullable=True) for each in facts) if source.optional else facts
    return tuple(found)


def flat_facts(flat: Flat) -> tuple[Facts, ...]:
    """What is known of the flat columns in every row: as declared, narrowed by what holds."""
    declared = [facts for source in flat.sources for facts in _source_facts(source)]
    return narrowed(declared, flat.holds)


def narrowed(columns: Sequence[Facts], holds: Sequence[Expression]) -> tuple[Facts, ...]:
    """The facts of columns in rows for which all conditions are TRUE. A condition that no value meets is passed over."""
    found = list(columns)
    for _ in range(2):  # a column that is compared with another may gain from what came after
        for condition in holds:
            for at, known in _told(condition, found):
                found[at] = known
    alone = dict[int, list[Expression]]()
    for condition in holds:
        read = columns_in(condition)
        if len(read) == 1:
            alone.setdefault(next(iter(read)), []).append(condition)
    effort = Effort(MAX_STEPS)
    return tuple(_listed(known, alone.get(at, []), at, columns[at], effort) for at, known in enumerate(found))


def _source_facts(source: Source) -> tuple[Facts, ...]:
    relation = source.relation
    declared = facts_over(relation)
    if source.column is not None:
        return (declared[source.column],)
    if isinstance(relation, Stacked):
        several = [_column_facts(each) for each in relation.sources]
        declared = tuple(_united(stack, known) for *stack, known in zip(*several, declared, strict=True))
    elif isinstance(relation, Summary):
        declared = _summary_facts(relation, declared)
    elif not isinstance(relation, Scan | Constant):
        declared = _column_facts(relation)
    if source.optional:
        declared = tuple(replace(facts, nullable=True) for facts in declared)
    return declared


def _column_facts(relation: Relation) -> tuple[Facts, ...]:
    flat = flattened(relation)
    facts = flat_facts(flat)
    return tuple(
        known_of(column, facts, declared) for column, declared in zip(flat.columns, facts_over(relation), strict=True)
    )


def _united(stack: Sequence[Facts], declared: Facts) -> Facts:
    return known_of(ColumnRef(0), (united(tuple(stack)),), declared)


def _summary_facts(relation: Summary, declared: tuple[Facts, ...]) -> tuple[Facts, ...]:
    below, known = _column_facts(relation.source), facts_over(relation.source)
    keys = [known_of(each, below, facts_of(each, known)) for each in relation.by]
    values = list[Facts]()
    for inner, argument in relation.values:
        facts = None if argument is None else known_of(argument, below, facts_of(argument, known))
        values.append(inner_facts(inner, facts, relation.source.rows, private=relation.private))
    first = len(declared) - len(keys) - len(values)
    narrow = [
        known_of(ColumnRef(0), (mine,), whole) for mine, whole in zip(keys + values, declared[first:], strict=True)
    ]
    return (*declared[:first], *narrow)


def _told(condition: Expression, columns: Sequence[Facts]) -> Iterable[tuple[int, Facts]]:
    """What a condition that is TRUE says of single columns."""
    if not isinstance(condition, Call):
        return
    inner = condition.args[0]
    if condition.function == "not" and isinstance(inner, Call) and inner.function == "is_null":
        if isinstance(inner.args[0], ColumnRef):
            yield inner.args[0].index, replace(columns[inner.args[0].index], nullable=False)
    elif condition.function in ("eq", "lt", "le", "gt", "ge"):
        first, second = condition.args
        yield from _compared(first, condition.function, (second,), columns)
        yield from _compared(second, _SWAPPED[condition.function], (first,), columns)
    elif condition.function == "one_of":
        yield from _compared(inner, "eq", condition.args[1:], columns)


def _compared(
    mine: Expression, sign: str, others: Sequence[Expression], columns: Sequence[Facts]
) -> Iterable[tuple[int, Facts]]:
    if not isinstance(mine, ColumnRef):
        return
    facts = columns[mine.index]
    try:
        known = [facts, *(facts_of(other, columns) for other in others)]
        if facts.kind not in WHOLE:
            factors(known)
            yield mine.index, replace(facts, nullable=False)
            return
        own, *grown = factors(known)
    except Unfit:
        return
    ends = [(each.ends[0] * by, each.ends[1] * by) for each, by in zip(known[1:], grown, strict=True)]
    met = _MEETS[sign](facts.ends, hull(*ends), own)
    low, high = _met(facts.ends, met)
    yield mine.index, replace(facts, low=low, high=high, nullable=False)


def _below(ends: Interval, other: Interval, own: int, less: int) -> Interval:
    return ends[0], (other[1] - less) // own


def _above(ends: Interval, other: Interval, own: int, more: int) -> Interval:
    return -(-(other[0] + more) // own), ends[1]


_MEETS: Mapping[str, Callable[[Interval, Interval, int], Interval]] = {
    "lt": lambda ends, other, own: _below(ends, other, own, 1),
    "le": lambda ends, other, own: _below(ends, other, own, 0),
    "gt": lambda ends, other, own: _above(ends, other, own, 1),
    "ge": lambda ends, other, own: _above(ends, other, own, 0),
    "eq": lambda ends, other, own: (_above(ends, other, own, 0)[0], _below(ends, other, own, 0)[1]),
}


def _met(one: Interval, other: Interval) -> Interval:
    """What lies in both; the first where nothing does, which no row then tells from it."""
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else one


def _listed(facts: Facts, own: Sequence[Expression], at: int, declared: Facts, effort: Effort) -> Facts:
    """The facts with those listed values for which all conditions on this column alone are TRUE."""
    if facts.values is None:
        return facts
    kept = list(facts.values)
    if facts.kind in WHOLE:
        low, high = facts.ends
        kept = [value for value in kept if low <= int(held(value, facts.kind, facts.scale) or 0) <= high]
    if not effort.allows(sum(map(size, own)) * len(kept)):
        own = ()
    for condition in own:
        try:
            test = evaluator(moved((condition,), {at: ColumnRef(0)})[0], (declared,))
        except Unfit:
            continue
        kept = [value for value in kept if test((held(value, facts.kind, facts.scale),)) is True]
    return replace(facts, values=tuple(kept)) if kept else facts
