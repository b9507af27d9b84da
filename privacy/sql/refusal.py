"""How a query is refused: a stable code, the position in the text, what is wrong, and what would be accepted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from core.errors import Invalid

ACCEPTED = (
    "one SELECT of group columns and COUNT(*), COUNT(column), COUNT(DISTINCT unit), SUM(column) or AVG(column), "
    "with WHERE and GROUP BY"
)
QUERY = (
    "one SELECT of group keys and aggregates such as COUNT(*), SUM(x) or AVG(x), FROM tables that are joined unit by unit, "
    "with WHERE, GROUP BY, HAVING, ORDER BY and LIMIT"
)
# Every code with which a text can be refused; docs/reference/sql.md lists them.
CODES = frozenset(
    {
        "bounds.required",
        "sql.join",
        "sql.names_units",
        "sql.no_private_table",
        "sql.not_allowed",
        "sql.not_local",
        "sql.syntax",
        "sql.too_deep",
        "sql.too_long",
        "sql.too_wide",
        "sql.type_mismatch",
        "sql.unit_column",
        "sql.unknown_column",
        "sql.unknown_table",
    }
)
_COMPARED = 1_000  # how many names are compared: each takes some 20 µs
_SHOWN = 40  # how much of the researcher's own words is repeated to them


@dataclass(frozen=True)
class Text:
    """The query as it came, with its tokens once it has some, for positions: lines and columns count from 1, in characters."""

    sql: str
    tokens: tuple[Token, ...] = ()

    def place(self, offset: int) -> dict[str, int | str]:
        """Where the character at `offset` stands."""
        at = max(0, min(offset, len(self.sql)))
        return {
            "field": "query",
            "line": self.sql.count("\n", 0, at) + 1,
            "column": at - (self.sql.rfind("\n", 0, at) + 1) + 1,
        }

    def refuse(self, code: str, reason: str, at: int, way_out: str | None = None) -> Invalid:
        """The error to raise for what stands at offset `at`."""
        if code not in CODES:
            raise ValueError(f"{code} is not documented")
        return Invalid(code, reason, where=self.place(at), way_out=way_out)

    def refuse_node(
        self, node: exp.Expr, reason: str, way_out: str | None = None, code: str = "sql.not_allowed"
    ) -> Invalid:
        """The error to raise for a part of the parsed text."""
        return self.refuse(code, reason, self.offset_of(node), way_out)

    def only(self, node: exp.Expr, *names: str, what: str | None = None, way_out: str | None = None) -> None:
        """Refuses a part of which the parser read more than the arguments `names`: what is not understood is not accepted."""
        for name, value in node.args.items():
            if not value or name in names:
                continue
            part = next(iter(value)) if isinstance(value, list) else value
            at = part if isinstance(part, exp.Expr) and any(_mark(each) is not None for each in part.walk()) else node
            shown = what or f"{quoted(node.key.upper())} with {name.strip('_').upper().replace('_', ' ')}"
            raise self.refuse_node(at, f"{shown} is not accepted", way_out or f"write {QUERY}")

    def offset_of(self, node: exp.Expr) -> int:
        """Where a parsed part begins. The parser marks names and literals only; the rest is found from the tokens."""
        own = _mark(node)
        if own is not None:
            return own
        if type(node) in _WORDS:
            above = 0 if node.parent is None else self.offset_of(node.parent)
            # What marks these parents, a name after AS or in FROM, comes after the word.
            before = self._last_token(*_WORDS[type(node)], until=above) if isinstance(node.parent, _LATE) else None
            return self.offset_of_token(*_WORDS[type(node)], since=above) if before is None else before
        marks = [mark for mark in map(_mark, node.walk()) if mark is not None]
        if marks:
            return self._call_start(min(marks)) if isinstance(node, exp.Func) else min(marks)
        return 0 if node.parent is None else self.offset_of(node.parent)

    def offset_of_token(self, *kinds: TokenType, since: int = 0) -> int:
        """Where the first token of one of these kinds begins, at or after `since`; `since` where there is none."""
        return next((t.start for t in self.tokens if t.start >= since and t.token_type in kinds), since)

    def _last_token(self, *kinds: TokenType, until: int) -> int | None:
        return next((t.start for t in reversed(self.tokens) if t.start < until and t.token_type in kinds), None)

    def offset_after(self, kind: TokenType) -> int:
        """Where what follows the first token of this kind begins; the end of the text where nothing does."""
        index = next((index for index, token in enumerate(self.tokens) if token.token_type is kind), len(self.tokens))
        return self.tokens[index + 1].start if index + 1 < len(self.tokens) else len(self.sql)

    def _call_start(self, inside: int) -> int:
        """Where the call begins whose first marked part is at `inside`: `MAX(x`, `CAST(x`, `DATE 'x'`."""
        index = next((index for index, token in enumerate(self.tokens) if token.start == inside), 0)
        before = index - 1
        while before > 0 and self.tokens[before].token_type is TokenType.L_PAREN:
            before -= 1
        stepped = before < index - 1 or (before >= 0 and self.tokens[before].token_type in _TYPES)
        return self.tokens[before].start if stepped else inside


_WORDS: dict[type[exp.Expr], tuple[TokenType, ...]] = {
    exp.Null: (TokenType.NULL,),
    exp.Boolean: (TokenType.TRUE, TokenType.FALSE),
    exp.CurrentDate: (TokenType.CURRENT_DATE,),
    exp.CurrentTime: (TokenType.CURRENT_TIME,),
    exp.CurrentTimestamp: (TokenType.CURRENT_TIMESTAMP,),
    exp.Parameter: (TokenType.PARAMETER,),
    exp.Placeholder: (TokenType.PLACEHOLDER, TokenType.PARAMETER),
}
_LATE = (exp.Alias, exp.Select)
_TYPES = frozenset({TokenType.DATE, TokenType.TIMESTAMP, TokenType.TIMESTAMPTZ, TokenType.TIMESTAMPNTZ})


def _mark(node: exp.Expr) -> int | None:
    start = node.meta.get("start")
    return start if isinstance(start, int) else None


def quoted(words: str) -> str:
    """The researcher's own words, shortened, with nothing in them that could disturb a terminal."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in words)
    return clean if len(clean) <= _SHOWN else clean[: _SHOWN - 1] + "…"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Declared names for a way out: the first few, and how many more there are."""
    every = list(names)
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The declared name that is most like `name`, if one is like it at all; of many, the first thousand are looked at."""
    by_lower = {known.lower(): known for known in islice(names, _COMPARED)}
    found = get_close_matches(name.lower()[:100], by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
