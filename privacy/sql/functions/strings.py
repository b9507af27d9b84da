"""Texts: lengths and places count code points, letters change in ASCII only, and no result is longer than its facts say.

İ, ß and their like have other upper and lower forms in every engine and version, so no function here touches them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from privacy.sql.facts import Facts, Unfit, number, text, truth
from privacy.sql.functions.forms import any_nullable, constant, of_kind
from privacy.sql.functions.record import MANY, Args, Function, Meaning, Sql, Texts, null_safe, pattern, strict
from privacy.sql.held import Kind

MAX_NEEDLE = 128  # bytes: what is searched for is compared at every place
_MAPPED = 256  # so many listed values are followed through a function
_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_TO_LOWER, _TO_UPPER = str.maketrans(_UPPER, _LOWER), str.maketrans(_LOWER, _UPPER)


def quoted_text(value: str) -> str:
    """A text as DuckDB reads it: only the quote has a meaning in it."""
    return "'" + value.replace("'", "''") + "'"


def constant_text(facts: Facts, name: str, what: str) -> str:
    """The text that an argument always is. Raises Unfit where it is none."""
    values = facts.values or ()
    if facts.kind is not Kind.TEXT or facts.nullable or len(values) != 1 or not isinstance(values[0], str):
        raise Unfit(f"{name} needs {what} written as a text", f"write {what} in quotes, such as 'a'")
    return values[0]


def ascii_lower(value: str) -> str:
    """The text with A to Z as a to z."""
    return value.translate(_TO_LOWER)


def lower_sql(value: str) -> str:
    """DuckDB's text of `ascii_lower`."""
    return f"translate({value}, '{_UPPER}', '{_LOWER}')"


def _ascii_upper(value: str) -> str:
    return value.translate(_TO_UPPER)


def _changed(source: Facts, longest: int, of: Callable[[str], str], args: Args) -> Facts:
    """Facts of a changed text: where the values are listed, those that they become."""
    nullable = any_nullable(args)
    if source.values is None or len(source.values) > _MAPPED:
        return text(longest, nullable=nullable, of=args)
    values = tuple(dict.fromkeys(of(value) for value in source.values if isinstance(value, str)))
    found = text(max((len(value.encode()) for value in values), default=0), nullable=nullable, of=args)
    return replace(found, values=values)


def _case_facts(name: str, of: Callable[[str], str]) -> Callable[[Args], Facts]:
    def facts(args: Args) -> Facts:
        of_kind(args, Kind.TEXT, name)
        return _changed(args[0], args[0].max_bytes, of, args)

    return facts


def _length_facts(args: Args) -> Facts:
    of_kind(args, Kind.TEXT, "LENGTH")
    return number((0, args[0].max_bytes), 0, nullable=args[0].nullable, of=args)


def _count(facts: Facts, name: str, what: str, least: int) -> int:
    """A number of characters, or a place among them, as it is written."""
    count = constant(facts, name, what)
    if not least <= count <= MANY:
        raise Unfit(f"{name} needs {what} of {least} or more", f"write {what} as {max(least, 2)}")
    return count


def _cut(args: Args, name: str) -> slice:
    """What is kept of a text, as a slice of its characters."""
    if name == "SUBSTRING":
        start = _count(args[1], name, "the place where it starts", 1) - 1
        return slice(start, None if len(args) == 2 else start + _count(args[2], name, "the length", 0))
    count = _count(args[1], name, "the length", 0)
    if name == "LEFT":
        return slice(0, count)
    return slice(-count, None) if count else slice(0, 0)


def _cut_facts(name: str) -> Callable[[Args], Facts]:
    def facts(args: Args) -> Facts:
        of_kind(args[:1], Kind.TEXT, name)
        part = _cut(args, name)
        longest = args[0].max_bytes
        if name == "RIGHT" and part.stop is None:
            longest = min(longest, -4 * part.start)
        elif part.stop is not None:
            longest = min(longest, 4 * (part.stop - part.start))
        return _changed(args[0], longest, operator.itemgetter(part), args)

    return facts


def _cut_sql(name: str) -> Sql:
    word = name.lower()
    return lambda texts, args, _result: f"{word}({', '.join([texts[0], *(str(arg.low) for arg in args[1:])])})"


def _cut_meaning(name: str) -> Meaning:
    def meaning(args: Args, _result: Facts) -> Callable[..., Any]:
        part = _cut(args, name)
        return null_safe(lambda value, *_counts: value[part])

    return meaning


def _needle(args: Args, name: str) -> str:
    of_kind(args[:1], Kind.TEXT, name)
    needle = constant_text(args[1], name, "the text to find")
    if len(needle.encode()) > MAX_NEEDLE:
        raise Unfit(f"{name} finds texts of at most {MAX_NEEDLE} bytes", "shorten the text to find", "sql.too_wide")
    return needle


def _place_facts(args: Args) -> Facts:
    _needle(args, "STRPOS")
    return number((0, max(1, args[0].max_bytes)), 0, nullable=args[0].nullable, of=args)


def _contains_facts(args: Args) -> Facts:
    _needle(args, "CONTAINS")
    return truth(nullable=args[0].nullable, of=args)


def _either_end_facts(name: str) -> Callable[[Args], Facts]:
    def facts(args: Args) -> Facts:
        of_kind(args, Kind.TEXT, name)
        return truth(nullable=any_nullable(args), of=args)

    return facts


def _joined_facts(args: Args) -> Facts:
    of_kind(args, Kind.TEXT, "||")
    return text(sum(arg.max_bytes for arg in args), nullable=any_nullable(args), of=args)


def _joined_sql(texts: Texts, _args: Args, _result: Facts) -> str:
    return f"({' || '.join(texts)})"


def _replaced_facts(args: Args) -> Facts:
    old, new = _needle(args, "REPLACE"), constant_text(args[2], "REPLACE", "the new text")
    if not old:
        raise Unfit("REPLACE needs a text to find that is not empty", "write REPLACE(x, 'a', 'b')")
    before, after = len(old.encode()), len(new.encode())
    longest = args[0].max_bytes + max(0, args[0].max_bytes // before * (after - before))
    return _changed(args[0], longest, lambda value: value.replace(old, new), args)


def _trimmed(name: str, of: Callable[[str], str], says: str) -> Function:
    shown = name.upper()
    return Function(
        name, (1, 1), f"{shown}(s)", says, _case_facts(shown, of), pattern(f"{name}({{0}}, ' ')"), strict(of)
    )


def _cutting(name: str, arity: tuple[int, int], example: str, says: str) -> Function:
    shown = name.upper()
    return Function(name, arity, example, says, _cut_facts(shown), _cut_sql(shown), _cut_meaning(shown))


STRINGS = (
    Function(
        "lower",
        (1, 1),
        "LOWER(s)",
        "A to Z as a to z; other letters stay as they are.",
        _case_facts("LOWER", ascii_lower),
        lambda texts, _args, _result: lower_sql(texts[0]),
        strict(ascii_lower),
    ),
    Function(
        "upper",
        (1, 1),
        "UPPER(s)",
        "a to z as A to Z; other letters stay as they are.",
        _case_facts("UPPER", _ascii_upper),
        pattern(f"translate({{0}}, '{_LOWER}', '{_UPPER}')"),
        strict(_ascii_upper),
    ),
    Function(
        "length",
        (1, 1),
        "LENGTH(s)",
        "How many characters (code points).",
        _length_facts,
        pattern("length({0})"),
        strict(len),
    ),
    _cutting(
        "substring", (2, 3), "SUBSTRING(s, 2, 3)", "The characters from a place (1 is the first), at most so many."
    ),
    _cutting("left", (2, 2), "LEFT(s, 2)", "The first so many characters."),
    _cutting("right", (2, 2), "RIGHT(s, 2)", "The last so many characters."),
    Function(
        "strpos",
        (2, 2),
        "STRPOS(s, 'a')",
        "The place at which the written text first stands (1 is the first character); 0 where it does not.",
        _place_facts,
        pattern("strpos({0}, {1})"),
        strict(lambda value, needle: value.find(needle) + 1),
    ),
    Function(
        "contains",
        (2, 2),
        "CONTAINS(s, 'a')",
        "Whether the written text stands in it.",
        _contains_facts,
        pattern("contains({0}, {1})"),
        strict(operator.contains),
    ),
    Function(
        "starts_with",
        (2, 2),
        "STARTS_WITH(s, 'a')",
        "Whether it starts with the other text.",
        _either_end_facts("STARTS_WITH"),
        pattern("starts_with({0}, {1})"),
        strict(str.startswith),
    ),
    Function(
        "ends_with",
        (2, 2),
        "ENDS_WITH(s, 'a')",
        "Whether it ends with the other text.",
        _either_end_facts("ENDS_WITH"),
        pattern("ends_with({0}, {1})"),
        strict(str.endswith),
    ),
    _trimmed("trim", lambda value: value.strip(" "), "The text without blanks at its ends."),
    _trimmed("ltrim", lambda value: value.lstrip(" "), "The text without blanks at its start."),
    _trimmed("rtrim", lambda value: value.rstrip(" "), "The text without blanks at its end."),
    Function(
        "replace",
        (3, 3),
        "REPLACE(s, 'a', 'b')",
        "Every place of one written text, from the left, replaced by another written text.",
        _replaced_facts,
        pattern("replace({0}, {1}, {2})"),
        strict(str.replace),
    ),
    Function(
        "concat",
        (2, MANY),
        "s || '-'",
        "The texts one after another; NULL where any is.",
        _joined_facts,
        _joined_sql,
        strict(lambda *values: "".join(values)),
    ),
)
