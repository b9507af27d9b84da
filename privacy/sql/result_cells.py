"""The released table of a query: what post-processing shows of noisy values, as JSON, each number with its error bar."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Any

from core.clock import text_of as text_of_moment
from privacy.sql.answers import COUNTS, answers
from privacy.sql.error_bars import Bar, Bars
from privacy.sql.expressions import ColumnRef, Expression, columns_in
from privacy.sql.facts import Facts
from privacy.sql.held import Held, Kind, shown
from privacy.sql.linear_forms import form_of
from privacy.sql.noised import NoisyTable
from privacy.sql.query_plan import MAX_SHOWN, QueryPlan
from privacy.table import ReleasedTable

_TYPES = {Kind.TRUTH: "bool", Kind.DAY: "date", Kind.MOMENT: "timestamp"}


def released_table(table: NoisyTable, plan: QueryPlan, seed: int | None = None) -> ReleasedTable:
    """The table that is shown. `seed` makes simulated error bars repeatable, for tests."""
    found = plan.post.shown(answers(table, plan))
    bars = _Barred(table, plan, found.origins, seed)
    described = list[dict[str, str]]()
    columns = list[list[Any]]()
    for at, (output, facts) in enumerate(zip(plan.post.outputs, plan.post.output_facts, strict=True)):
        values = [row[at] for row in found.rows]
        is_key = max(columns_in(output.expression), default=-1) < len(plan.keys)
        described.append({"name": output.name, "role": "key" if is_key else "value", "type": type_of(facts)})
        if is_key:
            columns.append([key_json(value, facts) for value in values])
        else:
            barred = zip(values, bars.of(output.expression), strict=True)
            columns.append([_cell(value, bar, facts) for value, bar in barred])
    names = [output.name for output in plan.post.outputs]
    rows = tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return ReleasedTable(tuple(described), rows, _notes(plan))


def type_of(facts: Facts) -> str:
    """What a column of the answer holds, in the words of declarations."""
    if facts.kind is Kind.NUMBER:
        return "decimal" if facts.scale else "int"
    return _TYPES.get(facts.kind, "string" if facts.values is None else "category")


def key_json(value: Held, facts: Facts) -> bool | int | str | None:
    """A value without noise as JSON, exact: numbers with decimals and those beyond 2^53 are texts."""
    seen = shown(value, facts.kind, facts.scale)
    if isinstance(seen, Decimal):
        return f"{seen:f}"
    if isinstance(seen, datetime):
        return text_of_moment(seen)
    if isinstance(seen, date):
        return seen.isoformat()
    return str(seen) if isinstance(seen, int) and abs(seen) > MAX_SHOWN else seen


class _Barred:
    """Error bars of the shown rows, of whatever grouping set each is."""

    def __init__(self, table: NoisyTable, plan: QueryPlan, origins: Sequence[int], seed: int | None) -> None:
        self._plan = plan
        self._count = len(origins)
        starts = [0, *accumulate(len(each.keys) for each in table.sets)]
        parts: dict[int, list[tuple[int, int]]] = {}  # by set: place in the answer, place in the set
        for place, origin in enumerate(origins):
            at = bisect_right(starts, origin) - 1
            parts.setdefault(at, []).append((place, origin - starts[at]))
        self._sets = [
            ([place for place, _ in pairs], Bars(plan, table.sets[at], [row for _, row in pairs], seed))
            for at, pairs in sorted(parts.items())
        ]

    def of(self, expression: Expression) -> list[tuple[Bar, float | None]]:
        """For each row its bar, and a standard error where there is no bar."""
        found: list[tuple[Bar, float | None]] = [(None, None)] * self._count
        for places, bars in self._sets:
            some = self._some(expression, bars)
            for place, each in zip(places, some, strict=True):
                found[place] = each
        return found

    def _some(self, expression: Expression, bars: Bars) -> list[tuple[Bar, float | None]]:
        at = expression.index - len(self._plan.keys) if isinstance(expression, ColumnRef) else -1
        if 0 <= at < len(self._plan.made):
            return [(bar, None) for bar in bars.of_value(at)]
        form = form_of(expression, self._plan)
        if form is not None:
            return [(bar, None) for bar in bars.of_form(form)]
        return [(None, error) for error in bars.simulated(expression)]


def _cell(value: Held, barred: tuple[Bar, float | None], facts: Facts) -> dict[str, Any]:
    bar, error = barred
    if facts.kind is not Kind.NUMBER or value is None or isinstance(value, bool | str):
        return {"value": key_json(value, facts), "standard_error": None, "low": None, "high": None}
    number = Fraction(value, 10**facts.scale)
    if bar is None:
        return {"value": _number(number), "standard_error": error, "low": None, "high": None}
    return {
        "value": _number(number),
        "standard_error": bar.standard_error,
        "low": _number(min(Fraction(bar.low), number)),
        "high": _number(max(Fraction(bar.high), number)),
    }


def _number(value: Fraction) -> int | float:
    """A JSON number that reads back as what was written: beyond 2^53 none would."""
    value = max(-Fraction(MAX_SHOWN), min(Fraction(MAX_SHOWN), value))
    return value.numerator if value.denominator == 1 else float(value)


def _notes(plan: QueryPlan) -> tuple[str, ...]:
    notes = ["Intervals cover the noise. What the bounds on one unit's contribution cut off is not known."]
    if any(each.threshold is not None for each in plan.sets):
        notes.append("Groups with few units are not shown.")
    if len(plan.sets) > 1:
        notes.append("Each level of grouping is measured by itself: parts need not add up to their totals.")
    if any(made.aggregate in COUNTS for made in plan.made):
        notes.append("A count that noise made negative is shown as 0.")
    return tuple(notes)
