"""CAST: by our own grammar for texts, and NULL where a value has no form in the asked type. Nothing here can fail on a row."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from privacy.sql.ends import Interval
from privacy.sql.facts import DAYS, MOMENTS, WIDE_BITS, Facts, Unfit, number, origin, text, truth
from privacy.sql.functions.calendar import date_of, day_of
from privacy.sql.functions.forms import constant, grown, is_wide, times_factor
from privacy.sql.functions.record import Args, Function, Sql, Texts, null_safe
from privacy.sql.functions.rounding import half_away, half_away_sql
from privacy.sql.functions.strings import ascii_lower, lower_sql
from privacy.sql.held import DAY_MICROSECONDS, Kind, held

MAX_PRECISION = 18  # digits of a DECIMAL
_WHOLE = r"[+-]?[0-9]{1,18}"
_DECIMAL = r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?"
_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = _YEAR + r"-[0-9]{2}-[0-9]{2}"
_MOMENT = _DATE + r" ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"


def _refused(facts: Facts, to: str) -> Unfit:
    return Unfit(f"a {facts.kind} cannot be CAST to {to}", "cast from a text, or leave the CAST out")


def _grammar(value: str, grammar: str, type_: str) -> str:
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
        raise _refused(source, "DECIMAL")
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
        parsed = _grammar(texts[0], _DECIMAL, f"DECIMAL({precision}, {scale})")
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
        raise _refused(source, "INTEGER")
    return number((1 - 10**18, 10**18 - 1), 0, nullable=True, of=args)


def _integer_sql(texts: Texts, args: Args, result: Facts) -> str:
    source = args[0]
    if source.kind is Kind.TEXT:
        return _grammar(texts[0], _WHOLE, "BIGINT")
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


def _day_facts(args: Args) -> Facts:
    source = args[0]
    if source.kind is Kind.DAY:
        return source
    if source.kind is Kind.MOMENT:
        low, high = map(day_of, source.ends)
        return Facts(Kind.DAY, 0, low, high, nullable=source.nullable, **origin(args))
    if source.kind is not Kind.TEXT:
        raise _refused(source, "DATE")
    return Facts(Kind.DAY, 0, *DAYS, nullable=True, **origin(args))


def _day_sql(texts: Texts, args: Args, _result: Facts) -> str:
    if args[0].kind is Kind.DAY:
        return texts[0]
    found = (
        f"CAST(make_timestamp({texts[0]}) AS DATE)"
        if args[0].kind is Kind.MOMENT
        else _grammar(texts[0], _DATE, "DATE")
    )
    return f"CAST({found} - DATE '1970-01-01' AS INTEGER)"


def _day_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    def of_text(value: str) -> Any:
        return _parsed(value, _DATE, date.fromisoformat, Kind.DAY)

    return null_safe({Kind.DAY: lambda value: value, Kind.MOMENT: day_of}.get(args[0].kind, of_text))


def _parsed(value: str, grammar: str, of: Callable[[str], date], kind: Kind) -> Any:
    """The held value of a text in the grammar; NULL for another, and for a day that no month has."""
    try:
        return held(of(value), kind) if re.fullmatch(grammar, value) else None
    except ValueError:
        return None


def _moment_facts(args: Args) -> Facts:
    source = args[0]
    if source.kind is Kind.MOMENT:
        return source
    if source.kind is Kind.DAY:
        low, high = grown(source, DAY_MICROSECONDS)
        return Facts(Kind.MOMENT, 0, low, high, nullable=source.nullable, **origin(args))
    if source.kind is not Kind.TEXT:
        raise _refused(source, "TIMESTAMP")
    return Facts(Kind.MOMENT, 0, *MOMENTS, nullable=True, **origin(args))


def _moment_sql(texts: Texts, args: Args, _result: Facts) -> str:
    if args[0].kind is Kind.MOMENT:
        return texts[0]
    if args[0].kind is Kind.DAY:
        return f"({texts[0]} * {DAY_MICROSECONDS})"
    return f"epoch_us({_grammar(texts[0], _MOMENT, 'TIMESTAMP')})"


def _moment_meaning(args: Args, _result: Facts) -> Callable[..., Any]:
    def of_text(value: str) -> Any:
        return _parsed(value, _MOMENT, _utc, Kind.MOMENT)

    ways = {Kind.MOMENT: lambda value: value, Kind.DAY: lambda value: value * DAY_MICROSECONDS}
    return null_safe(ways.get(args[0].kind, of_text))


def _utc(value: str) -> datetime:
    whole, _, rest = value.partition(".")
    return datetime.fromisoformat(whole).replace(microsecond=int(rest.ljust(6, "0") or "0"), tzinfo=UTC)


def _cast(
    name: str, example: str, says: str, facts: Callable[[Args], Facts], sql: Sql, meaning: Any, arguments: int = 1
) -> Function:
    return Function(name, (arguments, arguments), example, says, facts, sql, meaning)


CASTS = (
    _cast(
        "to_decimal",
        "CAST(s AS DECIMAL(18, 2))",
        "A number of so many digits, halves away from zero; NULL where it does not fit. "
        "A text is a sign, up to 18 digits, and up to 18 after a point, without blanks.",
        _decimal_facts,
        _decimal_sql,
        _decimal_meaning,
        3,
    ),
    _cast(
        "to_integer",
        "CAST(s AS BIGINT)",
        "A whole number, halves away from zero; TRUE is 1. A text is a sign and up to 18 digits, else NULL.",
        _integer_facts,
        _integer_sql,
        _integer_meaning,
    ),
    _cast(
        "to_text",
        "CAST(d AS VARCHAR)",
        "A whole number, a date or a truth value in letters.",
        _text_facts,
        _text_sql,
        _text_meaning,
    ),
    _cast(
        "to_truth",
        "CAST(s AS BOOLEAN)",
        "true or false in letters of any case; NULL for others.",
        _truth_facts,
        _truth_sql,
        _truth_meaning,
    ),
    _cast(
        "to_date",
        "CAST(t AS DATE)",
        "The day of a timestamp (UTC). A text is YYYY-MM-DD, else NULL.",
        _day_facts,
        _day_sql,
        _day_meaning,
    ),
    _cast(
        "to_timestamp",
        "CAST(d AS TIMESTAMP)",
        "Midnight (UTC) of a date. A text is YYYY-MM-DD hh:mm:ss with up to 6 digits after a point, else NULL.",
        _moment_facts,
        _moment_sql,
        _moment_meaning,
    ),
)
