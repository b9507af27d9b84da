"""The rows of a checked relation, by the definition of each node: slow and obvious, what the block SQL must agree with on all data.

Used by tests and proofs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from privacy.sql.aggregates import Inner
from privacy.sql.algebra import (
    UNIT,
    Constant,
    Expand,
    Filter,
    Lookup,
    Project,
    Relation,
    Scan,
    Stacked,
    Summary,
    facts_over,
)
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Expression, Value
from privacy.sql.facts import Facts
from privacy.sql.functions import FUNCTIONS, facts_of
from privacy.sql.functions.rounding import half_away
from privacy.sql.held import Held, Kind, held
from privacy.sql.relation_graph import relations_in

Row = tuple[Held, ...]
Tables = Mapping[str, Sequence[Mapping[str, Value]]]


def rows_of(relation: Relation, tables: Tables) -> list[Row]:
    """The rows of a relation, in no order that means anything; values as they are held, the unit of a private one in front.

    `tables` holds for each asset its rows: values as people write them, by the names of the declared columns.
    """
    done: dict[int, list[Row]] = {}
    for part in relations_in(relation):
        done[id(part)] = _rows(part, lambda read: done[id(read)], tables)
    return done[id(relation)]


def _rows(relation: Relation, of: Callable[[Relation], list[Row]], tables: Tables) -> list[Row]:
    if isinstance(relation, Scan | Constant):
        return [_held(row, relation) for row in _stored(relation, tables)]
    if isinstance(relation, Filter):
        keep = evaluator(relation.condition, facts_over(relation.source))
        return [row for row in of(relation.source) if keep(row) is True]
    if isinstance(relation, Project):
        made = [evaluator(each, facts_over(relation.source)) for each in relation.expressions]
        return [(*_unit_of(relation, row), *(value(row) for value in made)) for row in of(relation.source)]
    if isinstance(relation, Stacked):
        return [row for source in relation.sources for row in of(source)]
    if isinstance(relation, Summary):
        return _summarised(relation, of(relation.source))
    return _joined(relation, of(relation.source), of(relation.other))


def _stored(relation: Scan | Constant, tables: Tables) -> Iterable[Sequence[Value]]:
    if isinstance(relation, Constant):
        return relation.values
    return ([row[field.name] for field in relation.columns] for row in tables[relation.asset])


def _held(values: Sequence[Value], relation: Relation) -> Row:
    facts = facts_over(relation)
    return tuple(held(value, column.kind, column.scale) for value, column in zip(values, facts, strict=True))


def _unit_of(relation: Relation, row: Row) -> Row:
    return row[: UNIT + 1] if relation.private else ()


def _joined(relation: Lookup | Expand, rows: list[Row], others: list[Row]) -> list[Row]:
    tests = [_equal(left, right, relation) for left, right in relation.on]
    dropped = UNIT + 1 if relation.other.private else 0
    missing: Row = (None,) * (len(relation.other.columns) - dropped)
    found: list[Row] = []
    for row in rows:
        met = [
            other
            for other in others
            if (not relation.local or row[UNIT] == other[UNIT]) and all(test(row, other) is True for test in tests)
        ]
        found += [(*row, *other[dropped:]) for other in met]
        if relation.keeps and not met:
            found.append((*row, *missing))
    return found


def _equal(left: Expression, right: Expression, relation: Lookup | Expand) -> Callable[[Row, Row], bool | None]:
    facts, others = facts_over(relation.source), facts_over(relation.other)
    one, other = evaluator(left, facts), evaluator(right, others)
    known = facts_of(left, facts), facts_of(right, others)
    equal = FUNCTIONS["eq"]
    meaning = equal.meaning(known, equal.facts(known))

    def test(row: Row, met: Row) -> bool | None:
        found: bool | None = meaning(one(row), other(met))
        return found

    return test


def _summarised(relation: Summary, rows: list[Row]) -> list[Row]:
    facts = facts_over(relation.source)
    keys = [evaluator(each, facts) for each in relation.by]
    groups: dict[Row, list[Row]] = {}
    for row in rows:
        key = (*_unit_of(relation, row), *(value(row) for value in keys))
        groups.setdefault(key, []).append(row)
    return [(*key, *_values(relation, members)) for key, members in groups.items()]


def _values(relation: Summary, rows: list[Row]) -> Row:
    facts = facts_over(relation.source)
    results = facts_over(relation)[len(relation.columns) - len(relation.values) :]
    values: list[Held] = []
    for (inner, argument), result in zip(relation.values, results, strict=True):
        if argument is None:
            values.append(len(rows))
        else:
            value = evaluator(argument, facts)
            values.append(_inner(inner, [value(row) for row in rows], facts_of(argument, facts), result))
    return tuple(values)


def _inner(inner: Inner, values: list[Held], argument: Facts, result: Facts) -> Held:
    """The exact aggregate of these values, NULLs apart."""
    some = [value for value in values if value is not None]
    if inner is Inner.NONNULL:
        return len(some)
    if inner is Inner.VALUES:
        return len(set(some))
    if not some:
        return None
    if inner in (Inner.MIN, Inner.MAX):
        chosen = min if inner is Inner.MIN else max
        return chosen(some, key=_by_bytes if argument.kind is Kind.TEXT else None)  # type: ignore[arg-type]
    total = sum(int(value) for value in some)
    return total if inner is Inner.SUM else half_away(total * 10 ** (result.scale - argument.scale), len(some))


def _by_bytes(value: str) -> bytes:
    return value.encode("utf-8")
