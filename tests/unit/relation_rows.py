"""The exact groups of a checked query, from the interpreter's rows: to be compared with what DuckDB says of the text."""

from __future__ import annotations

import itertools
from decimal import Decimal

from privacy.sql.aggregates import Aggregate
from privacy.sql.algebra import UNIT, facts_over
from privacy.sql.evaluate import evaluator
from privacy.sql.held import Kind, shown
from privacy.sql.interpreter_rows import rows_of


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
