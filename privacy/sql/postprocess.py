"""What is made of the noisy table before it is shown: HAVING, windows, ORDER BY, LIMIT and expressions over noisy values.

It is a function of noisy values, plan and public facts, so it costs nothing. It is total: on every row that the facts admit it gives
a value, and a division by a noisy 0 is NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from privacy.sql.answer_facts import table_facts
from privacy.sql.asked import Answer, Order, Output, Window
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Expression
from privacy.sql.facts import Facts, Unfit
from privacy.sql.functions import facts_of
from privacy.sql.held import Held, Kind
from privacy.sql.ordering import Row, Sorting
from privacy.sql.windows import window_column, window_facts


@dataclass(frozen=True)
class PostProcessing:
    """What of an `Answer` comes after noise. `columns` are the facts of the noisy table: keys, then values."""

    columns: tuple[Facts, ...]
    outputs: tuple[Output, ...]
    windows: tuple[Window, ...] = ()
    having: Expression | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0

    @cached_property
    def extended(self) -> tuple[Facts, ...]:
        """Facts of keys, values and windows. Raises Unfit where a window cannot be accepted."""
        return (*self.columns, *(window_facts(window, self.columns) for window in self.windows))

    @cached_property
    def output_facts(self) -> tuple[Facts, ...]:
        """Facts of the columns of the answer. Raises Unfit where one cannot be accepted."""
        return tuple(facts_of(output.expression, self.extended) for output in self.outputs)

    def check(self) -> None:
        """Raises Unfit where `shown` could not work; whoever plans a query asks before anything is paid."""
        self.shown([])

    def shown(self, rows: Sequence[Row]) -> Shown:
        """The answer made of a noisy table: rows of held values that `columns` admit, in the order that ties keep."""
        found = rows
        places = list(range(len(rows)))
        if self.having is not None:
            if facts_of(self.having, self.columns).kind is not Kind.TRUTH:
                raise Unfit("HAVING needs a condition", "write HAVING COUNT(*) > 100")
            condition = evaluator(self.having, self.columns)
            places = [place for place in places if condition(rows[place]) is True]
            found = [rows[place] for place in places]
        if self.windows:
            added = [window_column(window, self.columns)(found) for window in self.windows]
            found = [(*row, *values) for row, *values in zip(found, *added, strict=True)]
        order = Sorting(self.order, self.extended).sorted(range(len(found)), found)
        last = None if self.limit is None else self.offset + self.limit
        order = order[self.offset : last]
        values = [evaluator(output.expression, self.extended) for output in self.outputs]
        return Shown(
            rows=[tuple(value(found[at]) for value in values) for at in order], origins=[places[at] for at in order]
        )


@dataclass(frozen=True)
class Shown:
    """The rows of an answer, held values of its outputs, and for each the place of the noisy table's row that it was made of."""

    rows: list[tuple[Held, ...]]
    origins: list[int]


def post_processing(answer: Answer) -> PostProcessing:
    """What of a checked answer comes after noise. Raises Unfit where something of it cannot be accepted."""
    found = PostProcessing(
        columns=table_facts(answer.grouping),
        outputs=answer.outputs,
        windows=answer.windows,
        having=answer.having,
        order=answer.order,
        limit=answer.limit,
        offset=answer.offset,
    )
    found.check()
    return found
