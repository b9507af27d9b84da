"""The relations that a checked query may be made of, and what each keeps: its columns, its unique sets, its size, its units.

Rows of a private relation carry their unit as column 0, which no expression selects as a value. The rows of a unit are a function of
that unit's rows and of public tables alone (docs/design.md R5): every node that brings two private relations together does it unit by
unit, and its constructor refuses to be built otherwise. Relations are compared by identity: a shared one is written once.

`unique` holds sets of columns of which no two rows agree in all, NULL counting as a value; `rows` is the most rows that declared
sizes allow; `ordered` says that rows of one unit lie together, unit after unit, as in a stored block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from privacy.schema import EXCESS, Column, TableSchema
from privacy.sql.aggregates import Inner, inner_facts
from privacy.sql.expressions import ColumnRef, Expression, Value
from privacy.sql.facts import Facts, column_facts, literal_facts, united
from privacy.sql.functions import facts_of

Unique = frozenset[frozenset[int]]
On = tuple[tuple[Expression, Expression], ...]  # equalities: left over `source`, right over `other`
UNIT = 0  # where a private relation has its unit


@dataclass(frozen=True)
class Field:
    """A column of a relation. `name` is what the text called it; it is never emitted."""

    name: str
    facts: Facts


@dataclass(frozen=True, eq=False)
class Scan:
    """A private or a public asset; `table` counts the tables that are read."""

    table: int
    asset: str
    columns: tuple[Field, ...]
    unique: Unique
    rows: int
    private: bool
    ordered: bool = True


@dataclass(frozen=True, eq=False)
class Constant:
    """VALUES: rows as written."""

    values: tuple[tuple[Value, ...], ...]
    columns: tuple[Field, ...]
    unique: Unique = frozenset()
    private: bool = False
    ordered: bool = False

    @property
    def rows(self) -> int:
        """How many rows are written."""
        return len(self.values)


@dataclass(frozen=True, eq=False)
class _RowByRow:
    """At most one row for each of `source`, in its order."""

    source: Relation

    @property
    def rows(self) -> int:
        """At most those of the source."""
        return self.source.rows

    @property
    def private(self) -> bool:
        """As the source."""
        return self.source.private

    @property
    def ordered(self) -> bool:
        """As the source."""
        return self.source.ordered


@dataclass(frozen=True, eq=False)
class Filter(_RowByRow):
    """The rows of `source` for which `condition` is TRUE."""

    condition: Expression

    @property
    def columns(self) -> tuple[Field, ...]:
        """Those of the source."""
        return self.source.columns

    @property
    def unique(self) -> Unique:
        """As of the source."""
        return self.source.unique


@dataclass(frozen=True, eq=False)
class Project(_RowByRow):
    """Expressions over `source`; a private source's unit stays in front without being named."""

    expressions: tuple[Expression, ...]
    names: tuple[str, ...]

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """The unit of a private source, then one column for every expression."""
        facts = facts_over(self.source)
        made = (Field(name, facts_of(e, facts)) for name, e in zip(self.names, self.expressions, strict=True))
        return (*_unit_of(self.source), *made)

    @cached_property
    def unique(self) -> Unique:
        """Those sets of the source's of which every column is kept as it is."""
        first = len(_unit_of(self.source))
        kept = {e.index: first + at for at, e in enumerate(self.expressions) if isinstance(e, ColumnRef)}
        if self.source.private:
            kept[UNIT] = UNIT
        sets = (each for each in self.source.unique if each <= kept.keys())
        return frozenset(frozenset(kept[column] for column in each) for each in sets)


@dataclass(frozen=True, eq=False)
class _Join:
    source: Relation
    other: Relation
    on: On
    keeps: bool
    local: bool

    def __post_init__(self) -> None:
        if self.other.private and not self.source.private:
            raise ValueError("the first side of a join is the private one")
        if self.local != self.other.private:
            raise ValueError("two private relations are joined unit by unit, and only they are")
        if not self.on and not self.local:
            raise ValueError("a join has a condition")

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """Those of the source, then those of the other, its unit apart. Of `keeps`, the other's can all be NULL."""
        others = self.other.columns[1:] if self.other.private else self.other.columns
        if self.keeps:
            others = tuple(Field(field.name, replace(field.facts, nullable=True)) for field in others)
        return (*self.source.columns, *others)

    @property
    def private(self) -> bool:
        """As the source."""
        return self.source.private

    @property
    def ordered(self) -> bool:
        """No order survives a join (design R2)."""
        return False

    def _unique_on(self, side: int) -> bool:
        """Whether at most one row of that side meets a row of the other side."""
        relation = (self.source, self.other)[side]
        given = {pair[side].index for pair in self.on if isinstance(pair[side], ColumnRef)}  # type: ignore[union-attr]
        if self.local:
            given.add(UNIT)
        return any(each <= given for each in relation.unique)

    def _others(self) -> Unique:
        """The other's unique sets, where its columns stand in the join; its unit is the source's."""
        width, dropped = len(self.source.columns), int(self.other.private)

        def place(column: int) -> int:
            return UNIT if self.other.private and column == UNIT else width + column - dropped

        return frozenset(frozenset(place(column) for column in each) for each in self.other.unique)


@dataclass(frozen=True, eq=False)
class Lookup(_Join):
    """For every row of `source` at most one row of `other`; LEFT JOIN where it `keeps` rows without one.

    `local` adds unit = unit, and must be set exactly where both sides are private. Raises ValueError where `other` is not declared
    unique on the condition.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self._unique_on(1):
            raise ValueError("the other side is not unique on the condition")

    @property
    def unique(self) -> Unique:
        """As of the source: no row of it comes twice."""
        return self.source.unique

    @property
    def rows(self) -> int:
        """At most those of the source."""
        return self.source.rows


@dataclass(frozen=True, eq=False)
class Expand(_Join):
    """For every row of `other` at most one row of `source`; LEFT JOIN where it `keeps` rows of `source` without any.

    Raises ValueError where `source` is not declared unique on the condition.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self._unique_on(0):
            raise ValueError("the first side is not unique on the condition")

    @cached_property
    def unique(self) -> Unique:
        """As of the other; rows that are kept without one are told apart by the source's sets."""
        if not self.keeps:
            return self._others()
        return frozenset(mine | theirs for mine in self.source.unique for theirs in self._others())

    @cached_property  # taken once: two relations that share a third would be walked again and again
    def rows(self) -> int:
        """Every row of the other once, every kept row of the source once."""
        return self.source.rows + self.other.rows


@dataclass(frozen=True, eq=False)
class Stacked:
    """UNION ALL of relations with columns of the same kinds and grids. Raises ValueError where they differ."""

    sources: tuple[Relation, ...]

    def __post_init__(self) -> None:
        forms = {(s.private, tuple((f.facts.kind, f.facts.scale) for f in s.columns)) for s in self.sources}
        if len(forms) != 1:
            raise ValueError("relations that are stacked have columns of the same kinds and grids")

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """Names of the first; facts that hold for all."""
        stacks = zip(*(source.columns for source in self.sources), strict=True)
        return tuple(Field(stack[0].name, united(tuple(field.facts for field in stack))) for stack in stacks)

    @property
    def unique(self) -> Unique:
        """Nothing: the same row can come from two sources."""
        return frozenset()

    @cached_property
    def rows(self) -> int:
        """All of all."""
        return sum(source.rows for source in self.sources)

    @property
    def private(self) -> bool:
        """As all sources."""
        return self.sources[0].private

    @property
    def ordered(self) -> bool:
        """No order survives (design R2)."""
        return False


@dataclass(frozen=True, eq=False)
class Summary:
    """One row for every combination of `by` (and, of a private source, of the unit) that has rows."""

    source: Relation
    by: tuple[Expression, ...]
    values: tuple[tuple[Inner, Expression | None], ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.by and not self.source.private:
            raise ValueError("a summary of a public table has keys")

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """The unit of a private source, then `by`, then `values`. Raises Unfit where a value cannot be held."""
        facts = facts_over(self.source)
        keys = [facts_of(e, facts) for e in self.by]
        arguments = [None if e is None else facts_of(e, facts) for _, e in self.values]
        made = [
            inner_facts(inner, argument, self.source.rows, private=self.private)
            for (inner, _), argument in zip(self.values, arguments, strict=True)
        ]
        fields = (Field(name, known) for name, known in zip(self.names, keys + made, strict=True))
        return (*_unit_of(self.source), *fields)

    @property
    def unique(self) -> Unique:
        """The unit with `by`."""
        return frozenset({frozenset(range(int(self.source.private) + len(self.by)))})

    @property
    def rows(self) -> int:
        """At most those of the source."""
        return self.source.rows

    @property
    def private(self) -> bool:
        """As the source."""
        return self.source.private

    @property
    def ordered(self) -> bool:
        """A hash aggregate gives rows in no order."""
        return False


Relation = Scan | Constant | Filter | Project | Lookup | Expand | Stacked | Summary


def scan_of(table: int, asset: str, schema: TableSchema, *, private: bool) -> Scan:
    """A declared table. A private one has its unit first, then its other columns as declared; a public one has all as declared."""
    columns = schema.columns
    if private:
        columns = (schema.column(schema.unit), *(column for column in columns if column.name != schema.unit))
    places = {column.name: at for at, column in enumerate(columns)}
    sets = {frozenset(places[name] for name in key) for key in schema.keys}
    if schema.rows_per_unit == 1:
        sets.add(frozenset({places[schema.unit]}))
    fields = tuple(Field(column.name, _stored(column, schema, private=private)) for column in columns)
    return Scan(table, asset, fields, frozenset(sets), schema.rows * EXCESS, private, ordered=private)


def _stored(column: Column, schema: TableSchema, *, private: bool) -> Facts:
    if column.name != schema.unit:
        return column_facts(column, private=private)
    # Ingest refuses rows without a unit. The unit of a private table is compared as canonical text, whatever its type.
    return replace(column_facts(column, None if private else schema.unit_type, private=private), nullable=False)


def constant_of(values: tuple[tuple[Value, ...], ...], names: Sequence[str]) -> Constant:
    """VALUES. Raises Unfit where a column mixes kinds or a value cannot be held."""
    stacks = zip(*values, strict=True)
    fields = [Field(name, united(tuple(map(literal_facts, stack)))) for name, stack in zip(names, stacks, strict=True)]
    return Constant(values, tuple(fields))


def facts_over(relation: Relation) -> tuple[Facts, ...]:
    """What `facts_of` needs to know of the columns of a relation."""
    return tuple(field.facts for field in relation.columns)


def _unit_of(relation: Relation) -> tuple[Field, ...]:
    return relation.columns[:1] if relation.private else ()
