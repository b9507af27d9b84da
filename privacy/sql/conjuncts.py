"""Conditions as lists of what must hold: split at AND, factored out of OR, put together again, moved to other columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, parts_of


def placed(expression: Expression, places: Mapping[int, int]) -> Expression:
    """The expression with every column n at places[n]."""
    return substituted(expression, {number: ColumnRef(at) for number, at in places.items()})


def substituted(expression: Expression, by: Mapping[int, Expression]) -> Expression:
    """The expression with by[n] for every column n; shared parts stay shared."""
    return moved((expression,), by)[0]


def moved(expressions: Sequence[Expression], by: Mapping[int, Expression]) -> tuple[Expression, ...]:
    """The expressions with by[n] for every column n; what they share with each other stays shared."""
    made = dict[int, Expression]()
    for expression in expressions:
        for part in parts_of(expression) if id(expression) not in made else ():
            if isinstance(part, ColumnRef):
                made[id(part)] = by[part.index]
            elif isinstance(part, Call):
                made[id(part)] = Call(part.function, tuple(made[id(arg)] for arg in part.args))
            else:
                made[id(part)] = part
    return tuple(made[id(expression)] for expression in expressions)


def conjuncts(condition: Expression) -> list[Expression]:
    """The parts that must all be true for the condition to be; what all branches of an OR share is one of them (`factored`)."""
    found, rest = list[Expression](), [condition]
    while rest:
        part = rest.pop()
        if isinstance(part, Call) and part.function == "and":
            rest += reversed(part.args)
        elif isinstance(part, Call) and part.function == "or":
            found += factored(part)
        else:
            found.append(part)
    return list(dict.fromkeys(found))


def factored(either: Call) -> list[Expression]:
    """(A and B) or (A and C) as A, (B or C); equal in three-valued logic too."""
    branches = [conjuncts(branch) for branch in either.args]
    shared = set(branches[0]).intersection(*branches[1:])
    common = [part for part in branches[0] if part in shared]
    rests = [[part for part in branch if part not in shared] for branch in branches]
    if not common or not all(rests):
        return common or [either]  # A or (A and B) is A
    different = tuple(dict.fromkeys(flattened("or", [all_of(rest) for rest in rests])))
    return [*common, different[0] if len(different) == 1 else Call("or", different)]


def all_of(parts: Sequence[Expression]) -> Expression:
    """One condition of several; TRUE of none."""
    if not parts:
        return Literal(value=True)
    flat = flattened("and", parts)
    return flat[0] if len(flat) == 1 else Call("and", tuple(flat))


def flattened(function: str, parts: Sequence[Expression]) -> list[Expression]:
    """The parts, with those of parts that are calls of the same AND or OR in their place."""
    found, rest = list[Expression](), list(reversed(parts))
    while rest:
        part = rest.pop()
        if isinstance(part, Call) and part.function == function:
            rest += reversed(part.args)
        else:
            found.append(part)
    return found
