"""What a relation is made of: its parts once each, and how many they are when shared ones are written out."""

from __future__ import annotations

from privacy.sql.algebra import Constant, Expand, Lookup, Relation, Scan, Stacked


def made_of(relation: Relation) -> tuple[Relation, ...]:
    """The relations that it reads directly."""
    if isinstance(relation, Scan | Constant):
        return ()
    if isinstance(relation, Lookup | Expand):
        return relation.source, relation.other
    return relation.sources if isinstance(relation, Stacked) else (relation.source,)


def relations_in(relation: Relation) -> tuple[Relation, ...]:
    """Every relation once, each after those that it reads; the relation itself comes last. Linear, without recursion."""
    order: list[Relation] = []
    done = set[int]()
    rest: list[tuple[Relation, bool]] = [(relation, False)]
    while rest:
        part, entered = rest.pop()
        if id(part) in done:
            continue
        if not entered:
            rest.append((part, True))
            rest.extend((each, False) for each in reversed(made_of(part)))
            continue
        done.add(id(part))
        order.append(part)
    return tuple(order)


def written_out(relation: Relation) -> int:
    """How many relations there are where each is written as often as it is read."""
    sizes = dict[int, int]()
    for part in relations_in(relation):
        sizes[id(part)] = 1 + sum(sizes[id(each)] for each in made_of(part))
    return sizes[id(relation)]
