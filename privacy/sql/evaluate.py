"""What an expression is worth on a row: the normative meaning, in Python, that DuckDB's must equal on every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from privacy.sql.expressions import Call, ColumnRef, Expression, Literal, Value, parts_of
from privacy.sql.facts import Facts
from privacy.sql.functions import FUNCTIONS, facts_of_parts
from privacy.sql.held import Held, held, shown

_Step = Callable[[Sequence[Held], list[Any]], Any]  # of a row, and of the parts computed before


def evaluator(expression: Expression, columns: Sequence[Facts]) -> Callable[[Sequence[Held]], Held]:
    """The expression as a function of rows of held values; it raises on no row that the facts admit.

    Every part is computed once a row, whatever a CASE then chooses. Raises Unfit where the expression cannot be accepted.
    """
    facts = facts_of_parts(expression, columns)
    parts = parts_of(expression)
    places = {id(part): at for at, part in enumerate(parts)}
    steps = [_step(part, facts, places) for part in parts]

    def value(row: Sequence[Held]) -> Held:
        done: list[Any] = []
        for step in steps:
            done.append(step(row, done))
        found: Held = done[-1]
        return found

    return value


def value_of(expression: Expression, row: Sequence[Value], columns: Sequence[Facts]) -> Value:
    """The value of an expression on one row, both as people write them. Raises Unfit, or ValueError for a row of other kinds."""
    facts = facts_of_parts(expression, columns)[id(expression)]
    known = [held(value, column.kind, column.scale) for value, column in zip(row, columns, strict=True)]
    return shown(evaluator(expression, columns)(known), facts.kind, facts.scale)


def _step(part: Expression, facts: dict[int, Facts], places: dict[int, int]) -> _Step:
    known = facts[id(part)]
    if isinstance(part, Literal):
        value = held(part.value, known.kind, known.scale)
        return lambda _row, _done: value
    if isinstance(part, ColumnRef):
        index = part.index
        return lambda row, _done: row[index]
    return _call(part, facts, places)


def _call(call: Call, facts: dict[int, Facts], places: dict[int, int]) -> _Step:
    meaning = FUNCTIONS[call.function].meaning(tuple(facts[id(arg)] for arg in call.args), facts[id(call)])
    at = tuple(places[id(arg)] for arg in call.args)
    return lambda _row, done: meaning(*[done[place] for place in at])
