"""LIKE and ILIKE with written patterns: a few pieces of fixed length with gaps between, each searched for once and never again.

A piece with _ is compared at every place of the text, so what that can cost is bounded where the query is planned: measured in
DuckDB 2.0.1 at 1.3 ns for every byte of the text and character of the piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from privacy.sql.facts import Facts, Unfit, truth
from privacy.sql.functions.forms import of_kind
from privacy.sql.functions.record import Args, Function, Meaning, Sql, Texts, null_safe
from privacy.sql.functions.strings import ascii_lower, constant_text, lower_sql, quoted_text
from privacy.sql.held import Kind

MAX_GAPS = 8  # % in a pattern, neighbours counted once
MAX_PATTERN = 256  # characters
MAX_COMPARED = 8 * 1024  # bytes of the text times characters of a piece with _ after a gap
_ONE, _GAP = re.compile("_"), re.compile("%")  # stand for themselves in a pattern that is read
_Piece = list[str | re.Pattern[str]]


def _like_facts(args: Args) -> Facts:
    of_kind(args[:1], Kind.TEXT, "LIKE")
    searched = max((len(piece) for piece in _read(args)[1:] if _ONE in piece), default=0)
    if args[0].max_bytes * searched > MAX_COMPARED:
        reason = f"a text of up to {args[0].max_bytes} bytes is searched for a piece of {searched} characters with _"
        way_out = (
            f"shorten the text first, such as LEFT(x, {MAX_COMPARED // searched // 4}), or the piece between two %"
        )
        raise Unfit(reason, way_out, "sql.too_wide")
    return truth(nullable=args[0].nullable, of=args)


def _read(args: Args) -> list[_Piece]:
    """The pieces between the gaps of a pattern: characters, and _ for any one."""
    written = constant_text(args[1], "LIKE", "the pattern")
    escape = constant_text(args[2], "LIKE", "the ESCAPE character") if len(args) == 3 else None
    if escape is not None and len(escape) != 1:
        raise Unfit("ESCAPE takes one character", "write LIKE 'a!%' ESCAPE '!'")
    if len(written) > MAX_PATTERN:
        raise Unfit(f"a pattern has at most {MAX_PATTERN} characters", "shorten the pattern", "sql.too_wide")
    pieces: list[_Piece] = [[]]
    rest = iter(written)
    for character in rest:
        if character == escape:
            meant = next(rest, "")
            if meant not in ("%", "_", escape):
                raise Unfit("the ESCAPE character stands before %, _ or itself", "write LIKE 'a!%' ESCAPE '!'")
            pieces[-1].append(meant)
        elif character != "%":
            pieces[-1].append(_ONE if character == "_" else character)
        elif len(pieces) == 1 or pieces[-1]:
            pieces.append([])
    if len(pieces) - 1 > MAX_GAPS:
        raise Unfit(f"a pattern has at most {MAX_GAPS} times %", "shorten the pattern", "sql.too_wide")
    return pieces


def _sql(*, folded: bool) -> Sql:
    def sql(texts: Texts, args: Args, _result: Facts) -> str:
        pieces = _read(args)
        special = any(part in ("%", "_") for piece in pieces for part in piece)
        escaped = "%".join("".join(_written(part, special=special) for part in piece) for piece in pieces)
        value, pattern = (lower_sql(texts[0]), ascii_lower(escaped)) if folded else (texts[0], escaped)
        escape = " ESCAPE '!'" if special else ""
        return f"({value} LIKE {quoted_text(pattern)}{escape})"

    return sql


def _written(part: str | re.Pattern[str], *, special: bool) -> str:
    if not isinstance(part, str):
        return part.pattern
    return f"!{part}" if special and part in ("%", "_", "!") else part


def _meaning(*, folded: bool) -> Meaning:
    def meaning(args: Args, _result: Facts) -> Callable[..., Any]:
        pieces = _read(args)
        if folded:
            pieces = [[ascii_lower(part) if isinstance(part, str) else part for part in piece] for piece in pieces]
        matches = _matcher(pieces)
        return null_safe(lambda value, *_written: matches(ascii_lower(value) if folded else value))

    return meaning


def _matcher(pieces: list[_Piece]) -> Callable[[str], bool]:
    """The first piece stands at the start and the last at the end; those between are taken as far left as they go."""
    first, *others = [
        re.compile("".join(re.escape(part) if isinstance(part, str) else "." for part in piece), re.DOTALL)
        for piece in pieces
    ]
    if not others:
        return lambda value: first.fullmatch(value) is not None
    *between, last = others
    room = len(pieces[-1])

    def matches(value: str) -> bool:
        found = first.match(value)
        for piece in between:
            if found is None:
                return False
            found = piece.search(value, found.end())
        at = len(value) - room
        return found is not None and at >= found.end() and last.match(value, at) is not None

    return matches


def _like(name: str, says: str, *, folded: bool) -> Function:
    return Function(
        name, (2, 3), f"s {name.upper()} 'a%_'", says, _like_facts, _sql(folded=folded), _meaning(folded=folded)
    )


PATTERNS = (
    _like("like", "Whether a written pattern fits: % is any text, _ any one character.", folded=False),
    _like("ilike", "LIKE, where a to z equal A to Z.", folded=True),
)
