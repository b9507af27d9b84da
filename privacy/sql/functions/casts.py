"""CAST: by our own grammar for texts, and NULL where a value has no form in the asked type. Nothing here can fail on a row."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from privacy.sql.ends import Interval
from privacy.sql.facts import WIDE_BITS, Facts, Unfit, number, text, truth
from privacy.sql.functions.calendar import date_of
from privacy.sql.functions.forms import constant, grown, is_wide, times_factor
from privacy.sql.functions.record import Args, Function, Meaning, Sql, Texts, null_safe
from privacy.sql.functions.rounding import half_away, half_away_sql
from privacy.sql.functions.strings import ascii_lower, lower_sql
from privacy.sql.held import Kind

MAX_PRECISION = 18  # digits of a DECIMAL
_WHOLE = r"[+-]?[0-9]{1,18}"
_DECIMAL = r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?"


def cannot_cast(facts: Facts, to: str) -> Unfit:
    """The refusal of a cast from this kind."""
    return Unfit(f"a {facts.kind} cannot be CAST to {to}", "cast from a text, or leave the CAST out")


def parsed_sql(value: str, grammar: str, type_: str) -> str:
    """DuckDB's value of a text that is in the grammar; NULL for any other."""
    return f"TRY_CAST(CASE WHEN regexp_full_match({value}, '{grammar}') THEN {value} END AS {type_})"


def _decimal_form(args: Args) -> tuple[int, int]:
    """Precision and scale, as written."""
    precision, scale = constant(args[1], "CAST", "the precision"), constant(args[2], "CAST", "the scale")
    if not 1 <= precision <= MAX_PRECISION or not 0 <= scale <= min(precision, 12):
        reason = f"DECIMAL has at most {MAX_PRECISION} digits, at most 12 of them after the point"
        raise Unfit(reason, "write DECIMAL(18, 2)")
    return precision, scale


def _decimal_facts(args: Args) -> Facts:
    precision, scale = _decimal_form(args)
    most = 10**precision - 1
    source = args[0]
    if source.kind is Kind.TEXT:
        return number((-most, most), scale, nullable=True, of=args[:1])
    if source.kind is not Kind.NUMBER:
        raise cannot_cast(source, "DECIMAL")
    low, high = _rescaled_ends(source, scale)
    if low > most or high < -most:
        raise Unfit(f"no value fits into DECIMAL({precision}, {scale})", f"write DECIMAL({MAX_PRECISION}, {scale})")
    nullable = source.nullable or low < -most or high > most
    return number((max(low, -most), min(high, most)), scale, nullable=nullable, of=args[:1])


def _rescaled_ends(source: Facts, scale: int) -> Interval:
    """The ends on another grid. Raises Unfit where computing there needs too much room."""
    if scale >= source.scale:
        ends = grown(source, 10 ** (scale - source.scale))
        number(ends, scale, nullable=False)
        return ends
    step = 10 ** (source.scale - scale)
    low, high = source.ends
    if not replace(source, low=low - step, high=high + step).fits(WIDE_BITS):
        raise Unfit(f"CAST could need more than {WIDE_BITS} bits", "bound the number first", "sql.too_wide")
    return half_away(low, step), half_away(high, step)


def _rescaled_sql(value: str, source: Facts, scale: int) -> str:
    if scale >= source.scale:
        return times_factor(value, source, 10 ** (scale - source.scale))
    step = 10 ** (source.scale - scale)
    low, high = source.ends
    wide = is_wide([(low - step, high + step), source.ends])
    return half_away_sql(times_factor(value, source, 1, wide=wide), source, step)


def _decimal_sql(texts: Texts, args: Args, _result: Facts) -> str:
    precision, scale = _decimal_form(args)
    if args[0].kind is Kind.TEXT:
        parsed = parsed_sql(texts[0], _DECIMAL, f"DECIMAL({precision}, {scale})")
        return f"CAST({parsed} * {10**scale} AS BIGINT)"
    most = 10**precision - 1
    value, (low, high) = _rescaled_sql(texts[0], args[0], scale), _rescaled_ends(args[0], scale)
    if -most <= low and high <= most:
        return f"CAST({value} AS BIGINT)"
    moved = f"CAST(least(greatest({value}, -{most}), {most}) AS BIGINT)"
    return f"(CASE WHEN {value} BETWEEN -{most} AND {most} THEN {moved} END)"


def _decimal_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    precision, scale = _decimal_form(args)
    most, source = 10**precision - 1, args[0]

    def of_number(value: int) -> int:
        if scale >= source.scale:
            return value * int(10 ** (scale - source.scale))
        return half_away(value, 10 ** (source.scale - scale))

    def of_text(value: str) -> int | None:
        if re.fullmatch(_DECIMAL, value) is None:
            return None
        whole, _, rest = value.partition(".")
        return (
            half_away(int(whole + rest or "0"), 10 ** (len(rest) - scale))
            if len(rest) > scale
            else (int(whole + rest) * int(10 ** (scale - len(rest))))
        )

    of = of_text if source.kind is Kind.TEXT else of_number

    def value(given: Any, _precision: int, _scale: int) -> int | None:
        found = of(given)
        return found if found is not None and -most <= found <= most else None

    return null_safe(value)


def _integer_facts(args: Args) -> Facts:
    source = args[0]
    if source.kind is Kind.NUMBER:
        return number(_rescaled_ends(source, 0), 0, nullable=source.nullable, of=args)
    if source.kind is Kind.TRUTH:
        return number((0, 1), 0, nullable=source.nullable, of=args)
    if source.kind is not Kind.TEXT:
        raise cannot_cast(source, "INTEGER")
    return number((1 - 10**18, 10**18 - 1), 0, nullable=True, of=args)


def _integer_sql(texts: Texts, args: Args, result: Facts) -> str:
    source = args[0]
    if source.kind is Kind.TEXT:
        return parsed_sql(texts[0], _WHOLE, "BIGINT")
    value = texts[0] if source.kind is Kind.TRUTH else _rescaled_sql(texts[0], source, 0)
    return f"CAST({value} AS {'HUGEINT' if is_wide([result.ends]) else 'BIGINT'})"


def _integer_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    source = args[0]
    if source.kind is Kind.TEXT:
        return null_safe(lambda value: int(value) if re.fullmatch(_WHOLE, value) else None)
    step = 10**source.scale
    return null_safe(lambda value: int(value) if step == 1 else half_away(value, step))


def _text_facts(args: Args) -> Facts:
    source = args[0]
    if source.kind is Kind.TEXT:
        return source
    longest = {Kind.TRUTH: 5, Kind.DAY: 10}.get(source.kind)
    if source.kind is Kind.NUMBER and source.scale == 0:
        longest = max(len(str(end)) for end in source.ends)
    if longest is None:
        raise Unfit(f"a {source.kind} with parts cannot be CAST to VARCHAR", "ROUND it, or CAST it to DATE, first")
    return text(longest, nullable=source.nullable, of=args)


def _text_sql(texts: Texts, args: Args, _result: Facts) -> str:
    kind = args[0].kind
    if kind is Kind.TEXT:
        return texts[0]
    value = f"(DATE '1970-01-01' + {texts[0]})" if kind is Kind.DAY else texts[0]
    return f"CAST({value} AS VARCHAR)"


def _text_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    of: Callable[[Any], str] = str
    if args[0].kind is Kind.TRUTH:
        of = lambda value: "true" if value else "false"  # noqa: E731  # one of three forms of one name
    elif args[0].kind is Kind.DAY:
        of = lambda value: date_of(value).isoformat()  # noqa: E731  # as above
    return null_safe(of)


def _truth_facts(args: Args) -> Facts:
    if args[0].kind is Kind.TRUTH:
        return args[0]
    if args[0].kind is not Kind.TEXT:
        raise Unfit(f"a {args[0].kind} cannot be CAST to BOOLEAN", "compare it, such as x <> 0")
    return truth(nullable=True, of=args)


def _truth_sql(texts: Texts, args: Args, _result: Facts) -> str:
    if args[0].kind is Kind.TRUTH:
        return texts[0]
    return f"(CASE {lower_sql(texts[0])} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END)"


def _truth_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    if args[0].kind is Kind.TRUTH:
        return lambda value: value
    return null_safe(lambda value: {"true": True, "false": False}.get(ascii_lower(value)))


def cast(
    name: str, example: str, says: str, facts: Callable[[Args], Facts], sql: Sql, meaning: Meaning, arguments: int = 1
) -> Function:
    """A cast; its name says to which kind."""
    return Function(name, (arguments, arguments), example, says, facts, sql, meaning)


CASTS = (
    cast(
        "to_decimal",
        "CAST(s AS DECIMAL(18, 2))",
        "A number of so many digits, halves away from zero; NULL where it does not fit. "
        "A text is a sign, up to 18 digits, and up to 18 after a point, without blanks.",
        _decimal_facts,
        _decimal_sql,
        _decimal_meaning,
        3,
    ),
    cast(
        "to_integer",
        "CAST(s AS BIGINT)",
        "A whole number, halves away from zero; TRUE is 1. A text is a sign and up to 18 digits, else NULL.",
        _integer_facts,
        _integer_sql,
        _integer_meaning,
    ),
    cast(
        "to_text",
        "CAST(d AS VARCHAR)",
        "A whole number, a date or a truth value in letters.",
        _text_facts,
        _text_sql,
        _text_meaning,
    ),
    cast(
        "to_truth",
        "CAST(s AS BOOLEAN)",
        "true or false in letters of any case; NULL for others.",
        _truth_facts,
        _truth_sql,
        _truth_meaning,
    ),
)
