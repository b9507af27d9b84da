"""Choosing between values: CASE, COALESCE, NULLIF, GREATEST, LEAST. Every part is computed on every row; none can fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from privacy.sql.facts import WHOLE, Facts, Unfit, united
from privacy.sql.functions.forms import as_result, cast_back, compared, factors, is_wide, of_kind, together
from privacy.sql.functions.record import MANY, Args, Function, Meaning, Sql, Texts
from privacy.sql.held import Kind


def _growths(args: Args, result: Facts) -> list[int]:
    """What each held value is multiplied by to lie on the result's grid."""
    return [int(10 ** (result.scale - arg.scale)) for arg in args]


def _grown(value: Any, by: int) -> Any:
    return value if by == 1 or value is None else value * by


def _chosen(args: Sequence[Any]) -> tuple[Any, ...]:
    """The values of `case` (condition, value, …, else)."""
    return (*args[1::2], args[-1])


def _case_facts(args: Args) -> Facts:
    if len(args) % 2 == 0:
        raise Unfit("CASE pairs conditions with values", "write CASE WHEN x > 0 THEN 1 ELSE 0 END")
    of_kind(args[:-1:2], Kind.TRUTH, "WHEN")
    # Which value is chosen can depend on a private row though every value is written in the query.
    return replace(united(_chosen(args)), reads_private=any(arg.reads_private for arg in args))


def _case_sql(texts: Texts, args: Args, result: Facts) -> str:
    values = [as_result(*pair, result) for pair in zip(_chosen(texts), _chosen(args), strict=True)]
    arms = " ".join(f"WHEN {when} THEN {then}" for when, then in zip(texts[:-1:2], values[:-1], strict=True))
    return f"(CASE {arms} ELSE {values[-1]} END)"


def _case_meaning(args: Args, result: Facts) -> Callable[..., Any]:
    growths = _growths(_chosen(args), result)

    def value(*values: Any) -> Any:
        at = next((at for at, when in enumerate(values[:-1:2]) if when is True), -1)
        return _grown(_chosen(values)[at], growths[at])

    return value


def _coalesce_facts(args: Args) -> Facts:
    return replace(united(args), nullable=all(arg.nullable for arg in args))


def _coalesce_sql(texts: Texts, args: Args, result: Facts) -> str:
    return f"coalesce({', '.join(as_result(*pair, result) for pair in zip(texts, args, strict=True))})"


def _coalesce_meaning(args: Args, result: Facts) -> Callable[..., Any]:
    growths = _growths(args, result)

    def value(*values: Any) -> Any:
        return next((_grown(x, by) for x, by in zip(values, growths, strict=True) if x is not None), None)

    return value


def _null_if_facts(args: Args) -> Facts:
    factors(args)
    return replace(args[0], nullable=True, reads_private=any(arg.reads_private for arg in args))


def _null_if_sql(texts: Texts, args: Args, _result: Facts) -> str:
    first, second = together(texts, args)
    return f"(CASE WHEN {first} = {second} THEN NULL ELSE {texts[0]} END)"


def _null_if_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    first, second = compared(args)

    def value(x: Any, y: Any) -> Any:
        return None if x is None or (y is not None and first(x) == second(y)) else x

    return value


def _extreme_facts(name: str, *, most: bool) -> Callable[[Args], Facts]:
    def facts(args: Args) -> Facts:
        if any(arg.kind in (Kind.TRUTH, Kind.NOTHING) for arg in args):
            raise Unfit(f"{name} takes values that have an order", "use numbers, texts or dates")
        found = replace(united(args), nullable=all(arg.nullable for arg in args), values=None)
        if found.kind not in WHOLE:
            return found
        # An argument that can be NULL is passed over, so only the others hold the result on one side.
        ends = [(arg.ends[0] * by, arg.ends[1] * by) for arg, by in zip(args, _growths(args, found), strict=True)]
        certain = [end for end, arg in zip(ends, args, strict=True) if not arg.nullable] or None
        lows, highs = [low for low, _ in ends], [high for _, high in ends]
        if most:
            low = min(lows) if certain is None else max(low for low, _ in certain)
            return replace(found, low=low, high=max(highs))
        high = max(highs) if certain is None else min(high for _, high in certain)
        return replace(found, low=min(lows), high=high)

    return facts


def _extreme_sql(word: str) -> Sql:
    def sql(texts: Texts, args: Args, result: Facts) -> str:
        parts = [as_result(*pair, result) for pair in zip(texts, args, strict=True)]
        ends = (
            [(arg.ends[0] * by, arg.ends[1] * by) for arg, by in zip(args, _growths(args, result), strict=True)]
            if (result.kind is Kind.NUMBER)
            else []
        )
        return cast_back(f"{word}({', '.join(parts)})", result, wide=is_wide(ends))

    return sql


def _extreme_meaning(of: Callable[[Any], Any]) -> Meaning:
    def meaning(args: Args, result: Facts) -> Callable[..., Any]:
        growths = _growths(args, result)
        texts = result.kind is Kind.TEXT

        def value(*values: Any) -> Any:
            held = [_grown(x, by) for x, by in zip(values, growths, strict=True) if x is not None]
            if not held:
                return None
            return of(x.encode() for x in held).decode() if texts else of(held)

        return value

    return meaning


CHOICE = (
    Function(
        "case",
        (3, MANY),
        "CASE WHEN x > 0 THEN x ELSE 0 END",
        "The value of the first condition that is TRUE, else the last value (NULL where none is written).",
        _case_facts,
        _case_sql,
        _case_meaning,
    ),
    Function(
        "coalesce",
        (1, MANY),
        "COALESCE(x, 0)",
        "The first value that is not NULL.",
        _coalesce_facts,
        _coalesce_sql,
        _coalesce_meaning,
    ),
    Function(
        "null_if",
        (2, 2),
        "NULLIF(x, 0)",
        "NULL where the two are equal, else the first.",
        _null_if_facts,
        _null_if_sql,
        _null_if_meaning,
    ),
    Function(
        "greatest",
        (2, MANY),
        "GREATEST(x, 0)",
        "The greatest value that is not NULL.",
        _extreme_facts("GREATEST", most=True),
        _extreme_sql("greatest"),
        _extreme_meaning(max),
    ),
    Function(
        "least",
        (2, MANY),
        "LEAST(x, 100)",
        "The least value that is not NULL.",
        _extreme_facts("LEAST", most=False),
        _extreme_sql("least"),
        _extreme_meaning(min),
    ),
)
