"""Conditions, in SQL's three-valued logic: unknown is NULL, and texts are compared by their UTF-8 bytes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from privacy.sql.facts import Facts, Unfit, truth
from privacy.sql.functions.forms import any_nullable, compared, factors, of_kind, together
from privacy.sql.functions.record import MANY, Args, Function, Meaning, Sql, Texts, null_safe, pattern, strict
from privacy.sql.held import Kind


def _compared_facts(args: Args) -> Facts:
    factors(args)
    return truth(nullable=any_nullable(args), of=args)


def _ordered_facts(args: Args) -> Facts:
    if any(arg.kind is Kind.TRUTH for arg in args):
        raise Unfit("true and false have no order", "use = or <>")
    return _compared_facts(args)


def _compared_sql(sign: str) -> Sql:
    def sql(texts: Texts, args: Args, _result: Facts) -> str:
        first, second = together(texts, args)
        return f"({first} {sign} {second})"

    return sql


def _compared_meaning(of: Callable[[Any, Any], bool]) -> Meaning:
    def meaning(args: Args, _result: Facts) -> Callable[..., Any]:
        first, second = compared(args)
        return null_safe(lambda x, y: of(first(x), second(y)))

    return meaning


def _comparison(name: str, sign: str, of: Callable[[Any, Any], bool], says: str, *, ordered: bool = True) -> Function:
    facts = _ordered_facts if ordered else _compared_facts
    return Function(name, (2, 2), f"x {sign} y", says, facts, _compared_sql(sign), _compared_meaning(of))


def _distinct_facts(args: Args) -> Facts:
    factors(args)
    return truth(nullable=False, of=args)


def _distinct_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    first, second = compared(args)

    def value(x: Any, y: Any) -> bool:
        if x is None or y is None:
            return x is not y
        return bool(first(x) != second(y))

    return value


def _is_null_facts(args: Args) -> Facts:
    return truth(nullable=False, of=args)


def _is_null_meaning(_args: Args, _result: Facts) -> Callable[..., Any]:
    return lambda x: x is None


def _logic_facts(name: str) -> Callable[[Args], Facts]:
    def facts(args: Args) -> Facts:
        of_kind(args, Kind.TRUTH, name)
        return truth(nullable=any_nullable(args), of=args)

    return facts


def _joined_sql(word: str) -> Sql:
    return lambda texts, _args, _result: f"({f' {word} '.join(texts)})"


def _joined_meaning(decisive: bool) -> Meaning:
    """One FALSE decides an AND and one TRUE an OR, whatever is unknown."""

    def value(*values: bool | None) -> bool | None:
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    return lambda _args, _result: value


def _one_of_sql(texts: Texts, args: Args, _result: Facts) -> str:
    first, *others = together(texts, args)
    return f"({first} IN ({', '.join(others)}))"


def _one_of_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    first, *others = compared(args)

    def value(x: Any, *listed: Any) -> bool | None:
        if x is None:
            return None
        found = {None if y is None else other(y) for other, y in zip(others, listed, strict=True)}
        if first(x) in found:
            return True
        return None if None in found else False

    return value


COMPARISON = (
    _comparison("eq", "=", operator.eq, "Equal; NULL where either side is.", ordered=False),
    _comparison("ne", "<>", operator.ne, "Not equal; NULL where either side is.", ordered=False),
    _comparison("lt", "<", operator.lt, "Less; NULL where either side is."),
    _comparison("le", "<=", operator.le, "Less or equal; NULL where either side is."),
    _comparison("gt", ">", operator.gt, "Greater; NULL where either side is."),
    _comparison("ge", ">=", operator.ge, "Greater or equal; NULL where either side is."),
    Function(
        "is_distinct",
        (2, 2),
        "x IS DISTINCT FROM y",
        "Not equal, where NULL equals NULL and nothing else.",
        _distinct_facts,
        lambda texts, args, _result: f"({' IS DISTINCT FROM '.join(together(texts, args))})",
        _distinct_meaning,
    ),
    Function(
        "is_null",
        (1, 1),
        "x IS NULL",
        "Whether it is NULL.",
        _is_null_facts,
        pattern("({0} IS NULL)"),
        _is_null_meaning,
    ),
    Function(
        "and",
        (2, MANY),
        "x > 0 AND y > 0",
        "All true; FALSE where any part is false, else NULL where any is unknown.",
        _logic_facts("AND"),
        _joined_sql("AND"),
        _joined_meaning(decisive=False),
    ),
    Function(
        "or",
        (2, MANY),
        "x > 0 OR y > 0",
        "Any true; TRUE where any part is true, else NULL where any is unknown.",
        _logic_facts("OR"),
        _joined_sql("OR"),
        _joined_meaning(decisive=True),
    ),
    Function(
        "not",
        (1, 1),
        "NOT b",
        "The opposite; NULL of NULL.",
        _logic_facts("NOT"),
        pattern("(NOT {0})"),
        strict(operator.not_),
    ),
    Function(
        "one_of",
        (2, MANY),
        "x IN (1, 2)",
        "Equal to one of the list; else NULL where the value or one of the list is NULL.",
        _compared_facts,
        _one_of_sql,
        _one_of_meaning,
    ),
)
