"""The rows of a checked relation, by the definition of each node: slow, in plain Python, to be compared with what DuckDB says of the text."""

from __future__ import annotations

import itertools
from decimal import Decimal

from privacy.sql.aggregates import AVG_SCALE, Aggregate, Inner
from privacy.sql.algebra import (
    UNIT,
    Constant,
    Expand,
    Filter,
    Lookup,
    Project,
    Scan,
    Stacked,
    Summary,
    facts_over,
)
from privacy.sql.conjuncts import placed
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Call
from privacy.sql.functions import facts_of
from privacy.sql.functions.rounding import half_away
from privacy.sql.held import Kind, held, shown


def rows_of(relation, tables):
    """Rows of held values. `tables` holds for each asset its rows as dictionaries."""
    if isinstance(relation, Scan):
        fields = relation.columns
        return [
            tuple(held(row[field.name], field.facts.kind, field.facts.scale) for field in fields)
            for row in tables[relation.asset]
        ]
    if isinstance(relation, Constant):
        kinds = [(field.facts.kind, field.facts.scale) for field in relation.columns]
        return [tuple(held(value, *kind) for value, kind in zip(row, kinds, strict=True)) for row in relation.values]
    if isinstance(relation, Filter):
        keep = evaluator(relation.condition, facts_over(relation.source))
        return [row for row in rows_of(relation.source, tables) if keep(row) is True]
    if isinstance(relation, Project):
        made = [evaluator(each, facts_over(relation.source)) for each in relation.expressions]
        rows = rows_of(relation.source, tables)
        return [(*row[: int(relation.private)], *(value(row) for value in made)) for row in rows]
    if isinstance(relation, Stacked):
        return [row for source in relation.sources for row in rows_of(source, tables)]
    if isinstance(relation, Summary):
        return _summary(relation, tables)
    assert isinstance(relation, Lookup | Expand)
    return _join(relation, tables)


def _join(relation, tables):
    width = len(relation.source.columns)
    facts = (*facts_over(relation.source), *facts_over(relation.other))
    shift = {at: at + width for at in range(len(relation.other.columns))}
    tests = [evaluator(Call("eq", (left, placed(right, shift))), facts) for left, right in relation.on]
    others, found = rows_of(relation.other, tables), []
    for row in rows_of(relation.source, tables):
        met = [
            other
            for other in others
            if (not relation.local or row[UNIT] == other[UNIT]) and all(test((*row, *other)) is True for test in tests)
        ]
        assert not isinstance(relation, Lookup) or len(met) <= 1
        dropped = int(relation.other.private)
        found += [(*row, *other[dropped:]) for other in met]
        if relation.keeps and not met:
            found.append((*row, *[None] * (len(relation.other.columns) - dropped)))
    assert len(found) <= relation.rows
    return found


def _summary(relation, tables):
    facts = facts_over(relation.source)
    keys = [evaluator(each, facts) for each in relation.by]
    arguments = [None if each is None else evaluator(each, facts) for _, each in relation.values]
    groups = {}
    for row in rows_of(relation.source, tables):
        key = (*row[: int(relation.private)], *(key(row) for key in keys))
        groups.setdefault(key, []).append(row)
    known = [None if each is None else facts_of(each, facts) for _, each in relation.values]
    found = []
    for key, rows in groups.items():
        values = [
            _inner(inner, [row if of is None else of(row) for row in rows], argument)
            for (inner, _), of, argument in zip(relation.values, arguments, known, strict=True)
        ]
        found.append((*key, *values))
    return found


def _inner(inner, values, argument):
    some = [value for value in values if value is not None]
    if inner is Inner.ROWS:
        return len(values)
    if inner is Inner.NONNULL:
        return len(some)
    if inner is Inner.VALUES:
        return len(set(some))
    if not some:
        return None
    if inner is Inner.SUM:
        return sum(some)
    if inner is Inner.AVG:
        return half_away(sum(some) * 10 ** max(0, AVG_SCALE - argument.scale), len(some))
    by_bytes = (lambda value: value.encode()) if argument.kind is Kind.TEXT else None
    return min(some, key=by_bytes) if inner is Inner.MIN else max(some, key=by_bytes)


def cells_of(grouping, tables):
    """The exact groups of a grouping: key and value lists as people write them, counts and sums only."""
    rows = rows_of(grouping.source, tables)
    facts = facts_over(grouping.source)
    keys = [evaluator(key.expression, facts) for key in grouping.keys]
    found = []
    for chosen in grouping.sets:
        groups = {}
        for row in rows:
            key = tuple(of(row) if at in chosen else None for at, of in enumerate(keys))
            groups.setdefault(key, []).append(row)
        if not chosen:
            groups.setdefault(tuple(None for _ in keys), [])
        for key, members in groups.items():
            written = [shown(v, f.kind, f.scale) for v, f in zip(key, grouping.key_facts, strict=True)]
            values = [
                _value(asked, members, facts, known)
                for asked, known in zip(grouping.values, grouping.argument_facts, strict=True)
            ]
            found.append((*written, *values))
    return found


def _value(asked, rows, facts, known):
    if asked.condition is not None:
        keep = evaluator(asked.condition, facts)
        rows = [row for row in rows if keep(row) is True]
    if asked.aggregate is Aggregate.ROWS:
        return len(rows)
    if asked.aggregate is Aggregate.UNITS:
        return len({row[UNIT] for row in rows})
    of = evaluator(asked.argument, facts)
    some = [value for value in map(of, rows) if value is not None]
    if asked.aggregate is Aggregate.NONNULL:
        return len(some)
    if asked.aggregate is Aggregate.VALUES:
        return len(set(some))
    assert asked.aggregate is Aggregate.SUM
    return shown(sum(some), Kind.NUMBER, known.scale) if some else None


def comparable(rows):
    """Rows as a sorted list, numbers as decimals without zeros at their end."""

    def plain(value):
        if isinstance(value, bool) or value is None or not isinstance(value, int | Decimal):
            return str(value)
        return format(Decimal(value).normalize(), "f")

    return sorted(tuple(plain(value) for value in row) for row in rows)


def without(tables, units, unit):
    """The tables with all rows of one unit removed; `units` names the unit's column of each private asset."""
    return {
        asset: [row for row in rows if asset not in units or row[units[asset]] != unit]
        for asset, rows in tables.items()
    }


def of_one(tables, units, unit):
    """The tables with that unit's rows only, and all public ones."""
    return {
        asset: [row for row in rows if asset not in units or row[units[asset]] == unit]
        for asset, rows in tables.items()
    }


def units_in(tables, units):
    """Every unit that has a row."""
    return sorted(set(itertools.chain.from_iterable((row[units[asset]] for row in tables[asset]) for asset in units)))
