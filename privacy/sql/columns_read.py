"""Which columns of each relation block SQL reads; the others are not written, as the database plans a query anew for every block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from privacy.sql.algebra import Constant, Expand, Filter, Lookup, Project, Relation, Scan, Stacked, facts_over
from privacy.sql.codes import by_code, coded
from privacy.sql.expressions import ColumnRef, Expression, columns_in
from privacy.sql.relation_graph import relations_in


@dataclass(frozen=True, order=True)
class Stored:
    """What stands at a position of a relation: the value itself (`c`), or the place of a listed text (`e`)."""

    letter: str
    at: int

    @property
    def name(self) -> str:
        """What block SQL calls it."""
        return f"{self.letter}{self.at}"


Read = Mapping[int, frozenset[Stored]]  # by the `id` of a relation


def values_of(relation: Relation) -> frozenset[Stored]:
    """All columns of a relation that are values, the unit apart."""
    return frozenset(Stored("c", at) for at in range(int(relation.private), len(relation.columns)))


def reads(expression: Expression, relation: Relation, carried: frozenset[int]) -> frozenset[Stored]:
    """What an expression over the relation reads; `carried` are the columns that carry their place."""
    width = len(relation.columns)
    found = columns_in(by_code(expression, facts_over(relation), carried))
    return frozenset(Stored("c", at) if at < width else Stored("e", at - width) for at in found)


def operand(expression: Expression, carried: frozenset[int]) -> Stored | None:
    """The place that a key or a value is read by, where it is a column that carries one."""
    if isinstance(expression, ColumnRef) and expression.index in carried:
        return Stored("e", expression.index)
    return None


def columns_read(relation: Relation, wanted: Iterable[Stored]) -> Read:
    """What is read of the relation, and of all that it is made of, where `wanted` is read of the relation itself."""
    carried = coded(relation)
    found: dict[int, set[Stored]] = defaultdict(set)
    found[id(relation)].update(wanted)
    for part in reversed(relations_in(relation)):  # whoever reads a relation comes before it
        if not part.private and not found[id(part)]:
            found[id(part)].add(Stored("c", 0))  # a table has a column
        for source, of in _sources(part, frozenset(found[id(part)]), carried):
            found[id(source)] |= of
    return {key: frozenset(columns) for key, columns in found.items()}


def _sources(
    relation: Relation, read: frozenset[Stored], carried: Mapping[int, frozenset[int]]
) -> list[tuple[Relation, frozenset[Stored]]]:
    if isinstance(relation, Scan | Constant):
        return []
    if isinstance(relation, Stacked):
        return [(source, read) for source in relation.sources]
    if isinstance(relation, Lookup | Expand):
        return _sides(relation, read, carried)
    source, first = relation.source, int(relation.private)
    of = carried[id(source)]
    if isinstance(relation, Filter):
        return [(source, read | reads(relation.condition, source, of))]
    if isinstance(relation, Project):
        made = ((each.letter, relation.expressions[each.at - first]) for each in read)
        return [(source, frozenset().union(*(_made(letter, e, source, of) for letter, e in made)))]
    arguments = [e for at, (_, e) in enumerate(relation.values, first + len(relation.by)) if Stored("c", at) in read]
    asked = [*relation.by, *(e for e in arguments if e is not None)]
    return [(source, frozenset().union(*(reads(e, source, of) for e in asked)))]


def _made(letter: str, expression: Expression, source: Relation, carried: frozenset[int]) -> frozenset[Stored]:
    if letter == "e" and isinstance(expression, ColumnRef):
        return frozenset({Stored("e", expression.index)})
    return reads(expression, source, carried)


def _sides(
    relation: Lookup | Expand, read: frozenset[Stored], carried: Mapping[int, frozenset[int]]
) -> list[tuple[Relation, frozenset[Stored]]]:
    source, other, width = relation.source, relation.other, len(relation.source.columns)
    shift = width - int(other.private)
    mine = {each for each in read if each.at < width}
    its = {Stored(each.letter, each.at - shift) for each in read if each.at >= width}
    for left, right in relation.on:
        mine |= reads(left, source, carried[id(source)])
        its |= reads(right, other, carried[id(other)])
    return [(source, frozenset(mine)), (other, frozenset(its))]
