"""Cutting numbers: ROUND, TRUNC, FLOOR and CEIL to decimal digits, BIN to the lower end of a bin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from privacy.sql.ends import fits
from privacy.sql.facts import WIDE_BITS, Facts, Unfit, number
from privacy.sql.functions.forms import cast_back, constant, factors, grown, is_wide, numbers, times_factor
from privacy.sql.functions.record import Args, Function, Meaning, Sql, Texts, null_safe
from privacy.sql.functions.rounding import ceiling_sql, floor_sql, half_away, half_away_sql, truncated


def _digits(args: Args, name: str) -> int:
    """How many decimal digits are kept: fewer than 0 stand before the point."""
    digits = constant(args[1], name, "the digits") if len(args) == 2 else 0
    if abs(digits) > 12:
        raise Unfit(f"{name} keeps at most 12 digits on either side", f"write {name}(x, 2)")
    return digits


def _step(args: Args, name: str) -> int:
    """How many steps of the argument's grid one step of the result's is; 1 where nothing is cut."""
    return int(10 ** max(0, args[0].scale - _digits(args, name)))


def _rounded_facts(name: str, nearest: Callable[[int, int], int]) -> Callable[[Args], Facts]:
    def facts(args: Args) -> Facts:
        numbers(args[:1], name)
        digits, step = _digits(args, name), _step(args, name)
        if step == 1:
            return args[0]
        low, high = args[0].ends
        if not fits((low - step, high + step), WIDE_BITS):
            raise Unfit(f"{name} could need more than {WIDE_BITS} bits", "bound the number first", "sql.too_wide")
        back = int(10 ** max(0, -digits))
        ends = nearest(low, step) * back, nearest(high, step) * back
        return number(ends, max(0, digits), nullable=args[0].nullable, of=args)

    return facts


def _rounded_sql(name: str, of: Callable[[str, Facts, int], str]) -> Sql:
    def sql(texts: Texts, args: Args, result: Facts) -> str:
        step, back = _step(args, name), int(10 ** max(0, -_digits(args, name)))
        if step == 1:
            return texts[0]
        low, high = args[0].ends
        wide = is_wide([(low - step, high + step), result.ends, args[0].ends]) or step > 10**18
        text = of(times_factor(texts[0], args[0], 1, wide=wide), args[0], step)
        return cast_back(text if back == 1 else f"({text} * {back})", result, wide=wide)

    return sql


def _rounded_meaning(name: str, nearest: Callable[[int, int], int]) -> Meaning:
    def meaning(args: Args, _result: Facts) -> Callable[..., Any]:
        step, back = _step(args, name), int(10 ** max(0, -_digits(args, name)))

        def value(x: int | None, _digits: int | None = None) -> int | None:
            return x if x is None or step == 1 else nearest(x, step) * back

        return value

    return meaning


def _truncate_sql(text: str, _facts: Facts, step: int) -> str:
    return f"({text} // {step})"


def _ceiling(a: int, b: int) -> int:
    return -(-a // b)


def _floor(a: int, b: int) -> int:
    return a // b


def _bin_width(args: Args) -> tuple[int, int]:
    """The factor of the number and the width, both on the finer grid."""
    by, of_width = factors(args)
    width = args[1]
    if width.nullable or width.low is None or width.low != width.high or width.low <= 0:
        raise Unfit("BIN needs a width above 0, written as a number", "write BIN(x, 10)")
    return by, width.low * of_width


def _bin_facts(args: Args) -> Facts:
    numbers(args, "BIN")
    by, width = _bin_width(args)
    low, high = (end // width * width for end in grown(args[0], by))
    found = number((low, high), max(arg.scale for arg in args), nullable=args[0].nullable, of=args)
    if not fits((low - width, high + width), WIDE_BITS):
        raise Unfit(f"BIN could need more than {WIDE_BITS} bits", "choose a smaller width", "sql.too_wide")
    return found


def _bin_sql(texts: Texts, args: Args, result: Facts) -> str:
    by, width = _bin_width(args)
    low, high = grown(args[0], by)
    wide = is_wide([(low - width, high + width), (low, 2 * width)])
    text = times_factor(texts[0], args[0], by, wide=wide)
    rest = f"{text} % {width}" if low >= 0 else f"({text} % {width} + {width}) % {width}"
    return cast_back(f"({text} - {rest})", result, wide=wide)


def _bin_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    by, width = _bin_width(args)
    return null_safe(lambda x, _width: x * by // width * width)


def _rounding(
    name: str, says: str, nearest: Callable[[int, int], int], of: Callable[[str, Facts, int], str], most: int = 1
) -> Function:
    shown = name.upper()
    example = f"{shown}(x)" if most == 1 else f"{shown}(x, 1)"
    return Function(
        name,
        (1, most),
        example,
        says,
        _rounded_facts(shown, nearest),
        _rounded_sql(shown, of),
        _rounded_meaning(shown, nearest),
    )


CUT_NUMBERS = (
    _rounding("round", "Rounded to so many decimal digits, halves away from zero.", half_away, half_away_sql, 2),
    _rounding("trunc", "Cut to so many decimal digits, toward zero.", truncated, _truncate_sql, 2),
    _rounding("floor", "The largest whole number that is not larger.", _floor, floor_sql),
    _rounding("ceil", "The smallest whole number that is not smaller.", _ceiling, ceiling_sql),
    Function(
        "bin",
        (2, 2),
        "BIN(x, 10)",
        "The lower end of the bin that x is in; bins start at multiples of the width.",
        _bin_facts,
        _bin_sql,
        _bin_meaning,
    ),
)
