"""What an allowed function is: its documentation, its type rule, its SQL and its Python meaning, in one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from privacy.sql.facts import Facts


class Stage(StrEnum):
    """Where an expression is worked out: on rows inside a block, or on the noisy table afterwards."""

    ROW = "row"
    POST = "post"


EVERYWHERE = frozenset(Stage)
MANY = 2**31 - 1  # the arity of a function that takes any number of arguments

Args = tuple[Facts, ...]
Texts = tuple[str, ...]
Sql = Callable[[Texts, Args, Facts], str]
Meaning = Callable[[Args, Facts], Callable[..., Any]]


@dataclass(frozen=True)
class Function:
    """One allowed function. It is total: for any arguments that its facts admit it has one value, in every engine.

    Attributes:
        name: its name in a `Call`.
        arity: the fewest and the most arguments.
        example: a SQL text that a test runs and the documentation shows; columns are x, y (numbers), s (text), d (date), t
            (timestamp), b (truth).
        says: what it does, in a sentence.
        facts: facts of the value from those of the arguments. Raises Unfit where these cannot be accepted.
        sql: DuckDB's text from the texts of the arguments, in the held form (`block_sql`): numbers BIGINT, or HUGEINT where their
            ends need more than 63 bits, dates INTEGER, moments BIGINT, texts VARCHAR, truth BOOLEAN. Every argument's text is one
            operand: a name, a literal, a call or in parentheses; so is the result.
        meaning: the normative value: from the facts of arguments and result, a Python function of held values (`held.Held`).
        where: the stages at which it is allowed.
    """

    name: str
    arity: tuple[int, int]
    example: str
    says: str
    facts: Callable[[Args], Facts]
    sql: Sql
    meaning: Meaning
    where: frozenset[Stage] = EVERYWHERE


def strict(of: Callable[..., Any]) -> Meaning:
    """The meaning of a function that needs no facts, and is NULL where any argument is."""
    return lambda _args, _result: null_safe(of)


def null_safe(of: Callable[..., Any]) -> Callable[..., Any]:
    """The function `of`, NULL where any argument is."""

    def value(*values: Any) -> Any:
        return None if None in values else of(*values)

    return value


def pattern(template: str) -> Sql:
    """SQL that is the same for all facts; {0} and {1} stand for the arguments."""
    return lambda texts, _args, _result: template.format(*texts)
