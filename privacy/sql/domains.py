"""Which keys a grouping can have, worked out from declarations, the text and public tables: such keys are shown without a threshold.

Every key that a row can have is among them, whatever the private rows are; a row outside would be dropped by the pass. Keys are public
where they are made of declared public values and of public tables, or of values that the text itself gives: CASE, truth values, EXTRACT
of a date with ends. What WHERE says of these alone narrows them. Nothing here depends on private rows (design R10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

from privacy.sql.algebra import Constant, Relation, Scan, Stacked, Summary
from privacy.sql.asked import Grouping
from privacy.sql.conjuncts import moved
from privacy.sql.effort import Effort
from privacy.sql.expressions import Call, ColumnRef, Expression, Value, columns_in, parts_of
from privacy.sql.facts import WHOLE, Facts
from privacy.sql.flattening import Flat, flattened
from privacy.sql.held import Held, held
from privacy.sql.listed_rows import MAX_ROWS, Joining, Listed, Row
from privacy.sql.narrowing import declared_facts, flat_facts, known_of

MAX_CELLS = 10_000  # keys of one grouping set
MAX_STEPS = 2_000_000  # parts of expressions, or values, times the rows on which they are looked at

PublicRows = Mapping[str, Sequence[Mapping[str, Value]]]  # by asset; values as people write them


def domains_of(grouping: Grouping, public: PublicRows) -> tuple[tuple[Row, ...] | None, ...]:
    """For each grouping set the held values of its keys in the order shown (NULL last); None where a threshold must decide.

    `public` has the rows of public assets; one that is missing, or too large, is not used. Raises Unfit as `Grouping.key_facts`.
    """
    reading = _Reading(grouping, public)
    return tuple(reading.domain(chosen) for chosen in grouping.sets)


class _Reading:
    def __init__(self, grouping: Grouping, public: PublicRows) -> None:
        flat = flattened(grouping.source)
        self.declared = grouping.key_facts
        self.keys = moved([key.expression for key in grouping.keys], dict(enumerate(flat.columns)))
        self.facts = declared_facts(flat)
        self.effort, narrow = Effort(MAX_STEPS), flat_facts(flat)
        self.listed = _listed_columns(flat, narrow, public, _read_by((*self.keys, *flat.holds)), self.effort)
        self.holds = flat.holds
        self._name_opaque(narrow)

    def _name_opaque(self, narrow: Sequence[Facts]) -> None:
        """A key that reads anything that is not listed becomes a column of its own, with the values that its facts allow."""
        known, named = set(self.listed), dict[Expression, ColumnRef]()
        keys, facts = list[Expression](), list(self.facts)
        for key, declared in zip(self.keys, self.declared, strict=True):
            if columns_in(key) and columns_in(key) <= known:
                keys.append(key)
                continue
            if key not in named:
                mine = known_of(key, narrow, declared)
                named[key] = ColumnRef(len(facts))
                values = _values_of(key, mine)
                if values is not None:
                    self.listed[len(facts)] = Listed((len(facts),), values)
                facts.append(declared)
            keys.append(named[key])
        self.keys, self.facts = tuple(keys), tuple(facts)
        holds = [_named(each, named) for each in self.holds] if named else self.holds
        self.holds = tuple(each for each in holds if columns_in(each) and columns_in(each) <= set(self.listed))

    def domain(self, chosen: Sequence[int]) -> tuple[Row, ...] | None:
        """The keys of one set."""
        keys = [self.keys[at] for at in chosen]
        if not all(columns_in(key) <= set(self.listed) for key in keys):
            return None
        parts = self._independent(keys)
        found, cells = list[tuple[tuple[int, ...], list[Row]]](), 1
        for places, tables, holds in parts:
            needed = set().union(*(columns_in(keys[at]) for at in places))
            rows = Joining(tables, needed, holds, self.facts, self.effort).keys([keys[at] for at in places])
            if rows is None:
                return None
            found.append((places, rows))
            cells *= len(rows)
            if cells > MAX_CELLS:
                return None
        return self._in_order(chosen, found)

    def _in_order(self, chosen: Sequence[int], found: list[tuple[tuple[int, ...], list[Row]]]) -> tuple[Row, ...]:
        places = [at for part, _ in found for at in part]
        back = [places.index(at) for at in range(len(chosen))]
        rows = [sum(parts, ()) for parts in product(*(rows for _, rows in found))]
        ranks = [_rank(self.declared[at]) for at in chosen]
        ordered = {tuple(row[at] for at in back) for row in rows}
        return tuple(sorted(ordered, key=lambda row: [rank(value) for rank, value in zip(ranks, row, strict=True)]))

    def _independent(self, keys: Sequence[Expression]) -> list[tuple[tuple[int, ...], list[Listed], list[Expression]]]:
        """The keys in parts that no condition connects: places, tables that bear on them (their own first), conditions."""
        groups = _Connected(id(table) for table in self.listed.values())
        for each in (*self.holds, *keys):
            groups.join(id(self.listed[at]) for at in columns_in(each))
        tables = {id(table): table for table in self.listed.values()}
        parts = dict[int, list[int]]()
        for at, key in enumerate(keys):
            parts.setdefault(groups.of(id(self.listed[min(columns_in(key))])), []).append(at)
        holds = dict[int, list[Expression]]()
        for each in self.holds:
            holds.setdefault(groups.of(id(self.listed[min(columns_in(each))])), []).append(each)
        members = dict[int, list[Listed]]()
        for name, table in tables.items():
            members.setdefault(groups.of(name), []).append(table)
        return [(tuple(places), members[part], holds.get(part, [])) for part, places in parts.items()]


class _Connected:
    """Which things are connected, directly or through others."""

    def __init__(self, names: Iterable[int]) -> None:
        self.above = {name: name for name in names}

    def of(self, name: int) -> int:
        while self.above[name] != name:
            self.above[name] = name = self.above[self.above[name]]
        return name

    def join(self, names: Iterable[int]) -> None:
        first, *others = (self.of(name) for name in names)
        for other in others:
            self.above[self.of(other)] = self.of(first)


def _listed_columns(
    flat: Flat, facts: Sequence[Facts], public: PublicRows, wanted: frozenset[int], effort: Effort
) -> dict[int, Listed]:
    """Of the wanted columns those whose rows can be listed: of public tables together, of a declared list each by itself."""
    found = dict[int, Listed]()
    for source in flat.sources:
        places = [at for at in range(source.first, source.first + source.width) if at in wanted]
        if not places:
            continue
        rows = None
        if not source.relation.private and source.column is None:
            rows = _public_rows(source.relation, public, [at - source.first for at in places], effort)
        if rows is not None:
            missing = [(None,) * len(places)] if source.optional else []
            table = Listed(tuple(places), tuple(dict.fromkeys([*rows, *missing])))
            found |= dict.fromkeys(places, table)
            continue
        for at in places:
            values = _values_of(ColumnRef(at), facts[at])
            if values is not None:
                found[at] = Listed((at,), values)
    return found


def _public_rows(relation: Relation, public: PublicRows, wanted: Sequence[int], effort: Effort) -> list[Row] | None:
    """The wanted columns of all rows of a public relation, held; None where they are not at hand or too many."""
    if isinstance(relation, Scan | Constant):
        return _stored_rows(relation, public, wanted, effort)
    if isinstance(relation, Stacked):
        several = [_public_rows(source, public, wanted, effort) for source in relation.sources]
        rows = [row for part in several if part is not None for row in part]
        return None if None in several or len(rows) > MAX_ROWS else rows
    if isinstance(relation, Summary):
        return None
    flat = flattened(relation)
    columns, facts = [flat.columns[at] for at in wanted], declared_facts(flat)
    listed = _listed_columns(flat, flat_facts(flat), public, _read_by((*columns, *flat.holds)), effort)
    needed = set(_read_by(columns))
    if not needed <= listed.keys():
        return None
    holds = [each for each in flat.holds if columns_in(each) and columns_in(each) <= listed.keys()]
    tables = list({id(table): table for table in listed.values()}.values())
    return Joining(tables, needed, holds, facts, effort).keys(columns)


def _read_by(expressions: Iterable[Expression]) -> frozenset[int]:
    return frozenset().union(*map(columns_in, expressions))


def _stored_rows(
    relation: Scan | Constant, public: PublicRows, wanted: Sequence[int], effort: Effort
) -> list[Row] | None:
    fields = [relation.columns[at] for at in wanted]
    if isinstance(relation, Constant):
        written: Iterable[Sequence[Value]] = ([row[at] for at in wanted] for row in relation.values)
    else:
        rows = public.get(relation.asset)
        if rows is None or len(rows) > MAX_ROWS or not effort.allows(len(rows) * len(wanted)):
            return None
        written = ([row[field.name] for field in fields] for row in rows)
    forms = [(field.facts.kind, field.facts.scale) for field in fields]
    held_rows = (tuple(held(v, *form) for v, form in zip(row, forms, strict=True)) for row in written)
    return list(dict.fromkeys(held_rows))


def _values_of(expression: Expression, facts: Facts) -> tuple[Row, ...] | None:
    """The values that facts allow an expression, NULL last; None where they are not public, or too many."""
    values: list[Held]
    if facts.values is not None and facts.is_public:
        values = [held(value, facts.kind, facts.scale) for value in facts.values]
    elif facts.kind in WHOLE and (facts.is_public or _is_part(expression)):
        low, high = facts.ends
        if high - low >= MAX_CELLS:
            return None
        values = list(range(low, high + 1))
    else:
        return None
    if facts.nullable:
        values.append(None)
    return tuple((value,) for value in values)


def _is_part(expression: Expression) -> bool:
    return isinstance(expression, Call) and expression.function == "date_part"


def _named(condition: Expression, named: Mapping[Expression, ColumnRef]) -> Expression:
    """The condition with the columns that stand for whole keys in their place."""
    made = dict[int, Expression]()
    for part in parts_of(condition):
        if part in named:
            made[id(part)] = named[part]
        elif isinstance(part, Call):
            made[id(part)] = Call(part.function, tuple(made[id(arg)] for arg in part.args))
        else:
            made[id(part)] = part
    return made[id(condition)]


def _rank(facts: Facts) -> Callable[[Held], tuple[bool, int, bytes]]:
    """What the values of a key are sorted by: their places in the list, else themselves; NULL last."""
    order = {} if facts.values is None else {held(v, facts.kind, facts.scale): at for at, v in enumerate(facts.values)}

    def rank(value: Held) -> tuple[bool, int, bytes]:
        if value is None:
            return True, 0, b""
        if isinstance(value, str):
            return False, order.get(value, len(order)), value.encode("utf-8")
        return False, order.get(value, int(value)), b""

    return rank
