"""A relation laid flat: columns that come from somewhere, what its own columns are made of, and what holds for every row.

Selections become expressions over the columns below, conditions of WHERE and of inner joins become conjuncts. What cannot be looked
through (summaries, UNION ALL, the side of a LEFT JOIN that can be missing) is a source of its own. Linear in the relation's parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privacy.sql.algebra import Expand, Filter, Lookup, Project, Relation
from privacy.sql.conjuncts import conjuncts, moved
from privacy.sql.expressions import MAX_DEPTH, MAX_SIZE, Call, ColumnRef, Expression, depth, size
from privacy.sql.relation_graph import relations_in


@dataclass(frozen=True)
class Source:
    """Flat columns `first`, `first` + 1, …: all of `relation` (all NULL in rows without one, where `optional`), or its `column` alone."""

    relation: Relation
    first: int
    optional: bool = False
    column: int | None = None

    @property
    def width(self) -> int:
        """How many flat columns it has."""
        return len(self.relation.columns) if self.column is None else 1


@dataclass(frozen=True)
class Flat:
    """A relation laid flat: `columns` are expressions over `width` flat columns of the sources; `holds` is TRUE in every row."""

    sources: tuple[Source, ...]
    columns: tuple[Expression, ...]
    holds: tuple[Expression, ...]

    @property
    def width(self) -> int:
        """How many flat columns there are."""
        return sum(source.width for source in self.sources)


def flattened(relation: Relation) -> Flat:
    """The relation laid flat."""
    done = dict[int, Flat]()
    for part in relations_in(relation):
        done[id(part)] = _flat(part, done)
    return done[id(relation)]


def _flat(relation: Relation, done: Mapping[int, Flat]) -> Flat:
    if isinstance(relation, Filter):
        below = done[id(relation.source)]
        (condition,) = moved((relation.condition,), dict(enumerate(below.columns)))
        return Flat(below.sources, below.columns, (*below.holds, *_holding(condition)))
    if isinstance(relation, Project):
        return _selected(relation, done[id(relation.source)])
    if isinstance(relation, Lookup | Expand):
        return _joined(relation, done[id(relation.source)], done[id(relation.other)])
    return _alone(relation)


def _alone(relation: Relation, *, optional: bool = False) -> Flat:
    columns = tuple(ColumnRef(at) for at in range(len(relation.columns)))
    return Flat((Source(relation, 0, optional),), columns, ())


def _selected(relation: Project, below: Flat) -> Flat:
    """Where an expression gets too large, its column is a source of its own."""
    sources, width = list(below.sources), below.width
    columns = list(below.columns[:1]) if relation.private else []
    for expression in moved(relation.expressions, dict(enumerate(below.columns))):
        if _is_small(expression):
            columns.append(expression)
            continue
        sources.append(Source(relation, width, column=len(columns)))
        columns.append(ColumnRef(width))
        width += 1
    return Flat(tuple(sources), tuple(columns), below.holds)


def _joined(relation: Lookup | Expand, left: Flat, right: Flat) -> Flat:
    if relation.keeps:
        right = _alone(relation.other, optional=True)
    first = left.width
    places = {at: ColumnRef(first + at) for at in range(right.width)}
    both = moved((*right.columns, *right.holds), places)
    columns, holds = both[: len(right.columns)], both[len(right.columns) :]
    sources = [Source(each.relation, first + each.first, each.optional, each.column) for each in right.sources]
    equal = () if relation.keeps else _equalities(relation, left.columns, columns)
    shown = columns[1:] if relation.other.private else columns
    return Flat((*left.sources, *sources), (*left.columns, *shown), (*left.holds, *holds, *equal))


def _equalities(
    relation: Lookup | Expand, left: Sequence[Expression], right: Sequence[Expression]
) -> tuple[Expression, ...]:
    ones = moved([pair[0] for pair in relation.on], dict(enumerate(left)))
    others = moved([pair[1] for pair in relation.on], dict(enumerate(right)))
    equal = (Call("eq", pair) for pair in zip(ones, others, strict=True))
    return tuple(each for each in equal if _is_small(each))


def _holding(condition: Expression) -> tuple[Expression, ...]:
    return tuple(conjuncts(condition)) if _is_small(condition) else ()


def _is_small(expression: Expression) -> bool:
    return size(expression) <= MAX_SIZE and depth(expression) <= MAX_DEPTH
