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
        value: the normative meaning, on held values (`held.Held`).
        where: the stages at which it is allowed.
    """

    name: str
    arity: tuple[int, int]
    example: str
    says: str
    facts: Callable[[tuple[Facts, ...]], Facts]
    sql: Callable[[tuple[str, ...], tuple[Facts, ...], Facts], str]
    value: Callable[[tuple[Any, ...], tuple[Facts, ...], Facts], Any]
    where: frozenset[Stage] = EVERYWHERE
