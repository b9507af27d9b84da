"""Which columns carry, beside a text of a declared list, its place in the list, and which conditions need that place alone.

A stored category is its place; its text costs a row several times as much. Places are of declared lists, never of what data holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from privacy.sql.algebra import (
    UNIT,
    Constant,
    Expand,
    Filter,
    Lookup,
    Project,
    Relation,
    Scan,
    Summary,
    facts_over,
)
from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, parts_of
from privacy.sql.facts import Facts
from privacy.sql.held import Kind
from privacy.sql.relation_graph import relations_in

ABSENT = -1  # the place of a text that is not in the list
_PLACES = 2**15  # more do not fit 16 bits
_SAME_TEXT = frozenset({"eq", "ne", "is_distinct"})


def listed_texts(facts: Facts) -> tuple[str, ...] | None:
    """The list that a text is of; None for what is no text, or of no list."""
    if facts.kind is not Kind.TEXT or facts.values is None:
        return None
    return tuple(value for value in facts.values if isinstance(value, str))


def code_type(values: Sequence[str]) -> str:
    """DuckDB's type of a place in the list."""
    return "SMALLINT" if len(values) <= _PLACES else "INTEGER"


def coded(relation: Relation) -> dict[int, frozenset[int]]:
    """For the relation and all that it is made of, by `id`: the columns that carry their place in the list of their facts.

    A summary carries none: it would have to group by them once more.
    """
    found: dict[int, frozenset[int]] = {}
    for part in relations_in(relation):
        found[id(part)] = _coded(part, found)
    return found


def _coded(relation: Relation, found: dict[int, frozenset[int]]) -> frozenset[int]:
    if isinstance(relation, Constant | Summary):
        return frozenset()
    if isinstance(relation, Scan):
        some = (at for at, facts in enumerate(facts_over(relation)) if listed_texts(facts) is not None)
        return frozenset(at for at in some if not (relation.private and at == UNIT))
    if isinstance(relation, Filter):
        return found[id(relation.source)]
    if isinstance(relation, Project):
        first, carried = int(relation.private), found[id(relation.source)]
        made = enumerate(relation.expressions)
        return frozenset(first + at for at, e in made if isinstance(e, ColumnRef) and e.index in carried)
    if isinstance(relation, Lookup | Expand):
        shift = len(relation.source.columns) - int(relation.other.private)
        return found[id(relation.source)] | {shift + at for at in found[id(relation.other)]}
    in_all = frozenset.intersection(*(found[id(source)] for source in relation.sources))
    lists = [facts_over(source) for source in relation.sources]
    return frozenset(at for at in in_all if len({facts[at].values for facts in lists}) == 1)


def code_facts(column: Facts) -> Facts:
    """Facts of the place in the list of a column that carries it."""
    last = len(column.values or ()) - 1
    return Facts(
        Kind.NUMBER,
        0,
        0,
        max(0, last),
        nullable=column.nullable,
        is_public=column.is_public,
        reads_private=column.reads_private,
    )


def by_code(expression: Expression, columns: Sequence[Facts], carried: frozenset[int]) -> Expression:
    """The expression with conditions on listed texts said of their places; column i's place is column len(columns) + i.

    Equal on every row: the place is the same function of the text on both sides, one to one.
    """
    made: dict[int, Expression] = {}
    for part in parts_of(expression):
        if isinstance(part, Call):
            args = tuple(made[id(arg)] for arg in part.args)
            made[id(part)] = Call(part.function, _places(part.function, args, columns, carried) or args)
        else:
            made[id(part)] = part
    return made[id(expression)]


def _places(
    function: str, args: tuple[Expression, ...], columns: Sequence[Facts], carried: frozenset[int]
) -> tuple[Expression, ...] | None:
    """The arguments as places, where that decides the same."""
    of = [arg.index for arg in args if isinstance(arg, ColumnRef)]
    if not of or not carried.issuperset(of) or len({columns[at].values for at in of}) > 1:
        return None
    if function in _SAME_TEXT or function == "is_null" or (function == "one_of" and args[0] == ColumnRef(of[0])):
        values = columns[of[0]].values or ()
        places = [_place(arg, values, len(columns)) for arg in args]
        return None if None in places else tuple(place for place in places if place is not None)
    return None


def _place(arg: Expression, values: Sequence[object], shift: int) -> Expression | None:
    if isinstance(arg, ColumnRef):
        return ColumnRef(shift + arg.index)
    if isinstance(arg, Literal) and isinstance(arg.value, str):
        return Literal(values.index(arg.value) if arg.value in values else ABSENT)
    return None
