"""Arithmetic on decimal grids: exact where it can be, rounded half away from zero where it cannot, NULL for a division by 0."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from privacy.sql.ends import (
    Interval,
    absolute,
    added,
    divided,
    fits,
    hull,
    multiplied,
    negated,
    rescaled,
    subtracted,
)
from privacy.sql.facts import WIDE_BITS, Facts, Unfit, number
from privacy.sql.functions.forms import (
    any_nullable,
    cast_back,
    factors,
    grown,
    is_wide,
    numbers,
    times_factor,
)
from privacy.sql.functions.record import Args, Function, Meaning, Sql, Texts, null_safe, pattern, strict
from privacy.sql.functions.rounding import (
    half_away,
    quotient_sql,
    remainder,
    truncated,
)

QUOTIENT_SCALE = 6  # fewest decimal digits of a quotient


def _sum_facts(name: str, ends_of: Callable[[Interval, Interval], Interval]) -> Callable[[Args], Facts]:
    def facts(args: Args) -> Facts:
        numbers(args, name)
        first, second = map(grown, args, factors(args))
        scale = max(arg.scale for arg in args)
        return number(ends_of(first, second), scale, nullable=any_nullable(args), of=args)

    return facts


def _sum_sql(sign: str) -> Sql:
    def sql(texts: Texts, args: Args, result: Facts) -> str:
        by = factors(args)
        wide = is_wide([result.ends, *map(grown, args, by)])
        first, second = (
            times_factor(text, arg, factor, wide=wide) for text, arg, factor in zip(texts, args, by, strict=True)
        )
        return cast_back(f"({first} {sign} {second})", result, wide=wide)

    return sql


def _sum_meaning(sign: int) -> Meaning:
    def meaning(args: Args, _result: Facts) -> Callable[..., Any]:
        by, other = factors(args)
        return null_safe(lambda x, y: x * by + sign * y * other)

    return meaning


def _times_facts(args: Args) -> Facts:
    numbers(args, "*")
    ends = multiplied(args[0].ends, args[1].ends)
    return number(ends, args[0].scale + args[1].scale, nullable=any_nullable(args), of=args)


def _times_sql(texts: Texts, args: Args, result: Facts) -> str:
    wide = is_wide([result.ends, *(arg.ends for arg in args)])
    first, second = (times_factor(text, arg, 1, wide=wide) for text, arg in zip(texts, args, strict=True))
    return cast_back(f"({first} * {second})", result, wide=wide)


def _quotient_scale(args: Args) -> tuple[int, int]:
    """The grid of a quotient, and the digits that the dividend gains before it is divided."""
    scale = max(args[0].scale, args[1].scale, QUOTIENT_SCALE)
    return scale, scale + args[1].scale - args[0].scale


def _quotient_room(args: Args) -> Interval:
    """Around all that is computed on the way to a quotient."""
    _, digits = _quotient_scale(args)
    dividend = multiplied(rescaled(args[0].ends, digits), (2, 2))
    divisor = absolute(args[1].ends)[1]
    return hull(added(dividend, (-divisor, divisor)), (-2 * divisor, 2 * divisor))


def _divide_facts(args: Args) -> Facts:
    numbers(args, "/")
    scale, digits = _quotient_scale(args)
    if not fits(_quotient_room(args), WIDE_BITS):
        reason = f"the quotient could need more than {WIDE_BITS} bits on the way"
        raise Unfit(reason, "bound the parts first, such as LEAST(GREATEST(x, 0), 1000000)", "sql.too_wide")
    ends = divided(rescaled(args[0].ends, digits), args[1].ends)
    if ends is None:
        raise Unfit("a division by 0 is always NULL", "divide by something else")
    return number(ends, scale, nullable=_null_quotient(args), of=args)


def _null_quotient(args: Args) -> bool:
    return any_nullable(args) or args[1].ends[0] <= 0 <= args[1].ends[1]


def _divide_sql(texts: Texts, args: Args, result: Facts) -> str:
    _, digits = _quotient_scale(args)
    wide = is_wide([_quotient_room(args)]) or digits > 18
    dividend = times_factor(texts[0], args[0], 10**digits, wide=wide)
    divisor = times_factor(texts[1], args[1], 1, wide=wide)
    text = quotient_sql(dividend, divisor, args[0].ends, args[1].ends)
    return cast_back(text, result, wide=wide)


def _divide_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    gain = 10 ** _quotient_scale(args)[1]
    return null_safe(lambda x, y: None if y == 0 else half_away(x * gain, y))


def _whole_quotient_facts(args: Args) -> Facts:
    numbers(args, "//")
    first, second = map(grown, args, factors(args))
    ends = divided(first, second)
    if ends is None:
        raise Unfit("a division by 0 is always NULL", "divide by something else")
    return number(ends, 0, nullable=_null_quotient(args), of=args)


def _remainder_facts(args: Args) -> Facts:
    numbers(args, "%")
    first, second = map(grown, args, factors(args))
    most = absolute(second)[1] - 1
    if most < 0:
        raise Unfit("a division by 0 is always NULL", "divide by something else")
    ends = max(min(first[0], 0), -most), min(max(first[1], 0), most)
    return number(ends, max(arg.scale for arg in args), nullable=_null_quotient(args), of=args)


def _whole_sql(sign: str) -> Sql:
    def sql(texts: Texts, args: Args, result: Facts) -> str:
        by = factors(args)
        wide = is_wide(map(grown, args, by))
        first, second = (
            times_factor(text, arg, factor, wide=wide) for text, arg, factor in zip(texts, args, by, strict=True)
        )
        return cast_back(f"({first} {sign} nullif({second}, 0))", result, wide=wide)

    return sql


def _whole_meaning(of: Callable[[int, int], int]) -> Meaning:
    def meaning(args: Args, _result: Facts) -> Callable[..., Any]:
        by, other = factors(args)
        return null_safe(lambda x, y: None if y == 0 else of(x * by, y * other))

    return meaning


def _negate_facts(args: Args) -> Facts:
    numbers(args, "-")
    return number(negated(args[0].ends), args[0].scale, nullable=args[0].nullable, of=args)


def _abs_facts(args: Args) -> Facts:
    numbers(args, "ABS")
    return number(absolute(args[0].ends), args[0].scale, nullable=args[0].nullable, of=args)


def _sign_facts(args: Args) -> Facts:
    numbers(args, "SIGN")
    low, high = args[0].ends
    return number((_sign(low), _sign(high)), 0, nullable=args[0].nullable, of=args)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


ARITHMETIC = (
    Function("plus", (2, 2), "x + y", "The sum, exact.", _sum_facts("+", added), _sum_sql("+"), _sum_meaning(1)),
    Function(
        "minus", (2, 2), "x - y", "The difference, exact.", _sum_facts("-", subtracted), _sum_sql("-"), _sum_meaning(-1)
    ),
    Function("times", (2, 2), "x * y", "The product, exact.", _times_facts, _times_sql, strict(operator.mul)),
    Function(
        "divide",
        (2, 2),
        "x / y",
        f"The quotient, to at least {QUOTIENT_SCALE} decimal digits, halves away from zero; NULL for y = 0.",
        _divide_facts,
        _divide_sql,
        _divide_meaning,
    ),
    Function(
        "whole_quotient",
        (2, 2),
        "x // y",
        "The quotient cut to a whole number, toward zero; NULL for y = 0.",
        _whole_quotient_facts,
        _whole_sql("//"),
        _whole_meaning(truncated),
    ),
    Function(
        "remainder",
        (2, 2),
        "x % y",
        "What // leaves, with the sign of x; NULL for y = 0.",
        _remainder_facts,
        _whole_sql("%"),
        _whole_meaning(remainder),
    ),
    Function("negate", (1, 1), "-x", "The negative.", _negate_facts, pattern("(-{0})"), strict(operator.neg)),
    Function(
        "abs",
        (1, 1),
        "ABS(x)",
        "The number without its sign.",
        _abs_facts,
        pattern("abs({0})"),
        strict(abs),
    ),
    Function(
        "sign",
        (1, 1),
        "SIGN(x)",
        "-1, 0 or 1.",
        _sign_facts,
        pattern("CAST(sign({0}) AS BIGINT)"),
        strict(_sign),
    ),
)
