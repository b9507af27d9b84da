"""What text is read at all: caps on size, depth and length come before the parser, and one SELECT comes out of it."""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from core.errors import Invalid
from privacy.sql.refusal import ACCEPTED, QUERY, Text, quoted

MAX_BYTES = 64 * 1024
MAX_TOKENS = 10_000
# sqlglot recurses; with CPython's default limit of 1,000 frames it fails from about 28 levels of NOT ( on.
MAX_NESTING = 20
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_OPENINGS = re.compile(r"'|\"|/\*|--")
_COMMENTS = re.compile(r"/\*|\*/")
_CLOSINGS = {"'": "'", '"': '"', "/*": "*/", "--": "\n"}
_DIALECT = "duckdb"


def one_select(sql: str) -> tuple[Text, exp.Select]:
    """The parsed SELECT with its text. Raises Invalid with the position of what is wrong."""
    text, found = _parsed(sql, frozenset({TokenType.SELECT}), ACCEPTED)
    if not isinstance(found, exp.Select):
        raise text.refuse("sql.not_allowed", "only one SELECT statement can be asked", 0, f"write {ACCEPTED}")
    return text, found


def one_query(sql: str) -> tuple[Text, exp.Select]:
    """The parsed SELECT, with what WITH names before it. Raises Invalid with the position of what is wrong."""
    text, found = _parsed(sql, frozenset({TokenType.SELECT, TokenType.WITH}), QUERY)
    if isinstance(found, exp.Union):
        at = text.offset_of_token(TokenType.UNION)
        way_out = "put the UNION ALL into FROM: SELECT … FROM (SELECT … UNION ALL SELECT …) AS rows"
        raise text.refuse("sql.not_allowed", "an answer is one table, not two that are put together", at, way_out)
    if not isinstance(found, exp.Select):
        raise text.refuse("sql.not_allowed", "only one SELECT statement can be asked", 0, f"write {QUERY}")
    return text, found


def _parsed(sql: str, starts: frozenset[TokenType], accepted: str) -> tuple[Text, exp.Expr]:
    text = Text(sql)
    _check_size(text)
    tokens = _tokens(text, accepted)
    text = Text(sql, tuple(tokens))
    _check_tokens(text, tokens, starts, accepted)
    try:
        found = [
            part for part in sqlglot.Dialect.get_or_raise(_DIALECT).parser().parse(tokens, sql) if part is not None
        ]
    except ParseError as problem:
        raise _unreadable(text, tokens, problem, accepted) from None
    except RecursionError:
        raise text.refuse("sql.too_deep", "the query is nested too deeply to be read", 0, _flatter()) from None
    except Exception as problem:  # whatever the parser trips over in a stranger's text is the text's fault
        raise text.refuse("sql.syntax", "the text cannot be read as SQL", 0, f"write {accepted}") from problem
    if len(found) != 1:
        raise text.refuse("sql.not_allowed", "only one SELECT statement can be asked", 0, f"write {accepted}")
    return text, found[0]


def _check_size(text: Text) -> None:
    if len(text.sql) > MAX_BYTES or len(text.sql.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise text.refuse(
            "sql.too_long", "the query is longer than 64 KiB", MAX_BYTES, "shorten it, for example its IN lists"
        )
    control = _CONTROL.search(text.sql)
    if control is not None:
        reason = f"the query holds the control character U+{ord(control.group()):04X}"
        raise text.refuse("sql.syntax", reason, control.start(), "delete it")


def _tokens(text: Text, accepted: str) -> list[Token]:
    try:
        return list(sqlglot.Dialect.get_or_raise(_DIALECT).tokenize(text.sql))
    except TokenError:
        at, opening = _left_open(text.sql)
        reason = f"{opening} is never closed" if opening else "the text cannot be read as SQL"
        raise text.refuse(
            "sql.syntax", reason, at, f"close it with {_CLOSINGS[opening]}" if opening else None
        ) from None
    except Exception as problem:
        raise text.refuse("sql.syntax", "the text cannot be read as SQL", 0, f"write {accepted}") from problem


def _left_open(sql: str) -> tuple[int, str]:
    """The first quote or comment that is opened and never closed."""
    at = 0
    while (found := _OPENINGS.search(sql, at)) is not None:
        opening = found.group()
        at = _comment_end(sql, found.end()) if opening == "/*" else sql.find(_CLOSINGS[opening], found.end()) + 1
        if at <= 0:
            return (found.start(), opening) if opening != "--" else (0, "")
    return 0, ""


def _comment_end(sql: str, at: int) -> int:
    """Where a comment that opened before `at` ends; comments nest. 0 where it does not end."""
    depth = 1
    for mark in _COMMENTS.finditer(sql, at):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return 0


def _check_tokens(text: Text, tokens: list[Token], starts: frozenset[TokenType], accepted: str) -> None:
    if not tokens:
        raise text.refuse("sql.syntax", "there is no query", 0, f"write {accepted}")
    if len(tokens) > MAX_TOKENS:
        reason = f"the query has more than {MAX_TOKENS} words and signs"
        raise text.refuse("sql.too_long", reason, tokens[MAX_TOKENS].start, "shorten it, for example its IN lists")
    if tokens[0].token_type not in starts:
        reason = f"a query begins with SELECT, not with {quoted(tokens[0].text)}"
        raise text.refuse("sql.not_allowed", reason, tokens[0].start, f"write {accepted}")
    _check_statements(text, tokens)
    _check_nesting(text, tokens)


def _check_statements(text: Text, tokens: list[Token]) -> None:
    ends = [index for index, token in enumerate(tokens) if token.token_type is TokenType.SEMICOLON]
    if ends and ends[0] != len(tokens) - 1:
        after = tokens[ends[0] + 1]
        raise text.refuse("sql.not_allowed", "one query is one statement", after.start, "end the text at the semicolon")


def _check_nesting(text: Text, tokens: list[Token]) -> None:
    """Open brackets and the prefix signs that are stacked inside them, together, are limited."""
    depth = 0
    prefixes = [0]
    for token in tokens:
        if token.token_type in (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE):
            depth += 1
            prefixes.append(prefixes[-1])
        elif token.token_type in (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END):
            depth -= 1
            prefixes = prefixes[:-1] or [0]
        elif token.token_type in (TokenType.NOT, TokenType.DASH, TokenType.TILDE, TokenType.PLUS):
            prefixes[-1] += 1
        elif token.token_type in (TokenType.AND, TokenType.OR, TokenType.COMMA):
            prefixes[-1] = prefixes[-2] if len(prefixes) > 1 else 0
        if depth + prefixes[-1] > MAX_NESTING:
            reason = f"the query is nested more than {MAX_NESTING} levels deep"
            raise text.refuse("sql.too_deep", reason, token.start, _flatter())


def _flatter() -> str:
    return "write the condition with fewer brackets and NOTs; IN (…) replaces chains of OR"


def _unreadable(text: Text, tokens: list[Token], problem: ParseError, accepted: str) -> Invalid:
    found = problem.errors[0] if problem.errors else {}
    place = (found.get("line"), found.get("col"))
    token = next((token for token in tokens if (token.line, token.col) == place), tokens[-1])
    near = quoted(text.sql[token.start : token.end + 1])
    return text.refuse("sql.syntax", f"the text cannot be read as SQL near {near}", token.start, f"write {accepted}")
