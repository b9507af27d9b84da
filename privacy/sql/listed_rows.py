"""Tables of which every row is listed, brought together on the conditions that are TRUE of all rows.

A condition that would take too long to compute, or a table that would make too many rows and is not needed, is left out: more rows are
found then, never fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privacy.sql.conjuncts import moved
from privacy.sql.effort import Effort
from privacy.sql.evaluate import evaluator
from privacy.sql.expressions import Call, ColumnRef, Expression, columns_in, size
from privacy.sql.facts import Facts, Unfit
from privacy.sql.held import Held

MAX_ROWS = 100_000  # rows of a public table, and combinations of rows, that are looked at

Row = tuple[Held, ...]


@dataclass(frozen=True)
class Listed:
    """Columns of which all rows that there can be are listed."""

    columns: tuple[int, ...]
    rows: tuple[Row, ...]


class Joining:
    """Listed tables brought together one by one, on the conditions between them."""

    def __init__(
        self,
        tables: Sequence[Listed],
        needed: set[int],
        holds: Sequence[Expression],
        facts: Sequence[Facts],
        effort: Effort,
    ) -> None:
        self.needed, self.facts, self.effort = needed, facts, effort
        self.reads = dict[int, list[Expression]]()  # conditions by the columns that they read
        self.equal = dict[int, set[int]]()
        for each in holds:
            for column in columns_in(each):
                self.reads.setdefault(column, []).append(each)
            for one, other in _equal_columns(each, facts):
                self.equal.setdefault(one, set()).add(other)
        used = needed | self.reads.keys()
        self.tables = [_cut(table, used) for table in tables if used & set(table.columns)]
        self.columns: tuple[int, ...] = ()
        self.rows: list[Row] = [()]

    def keys(self, keys: Sequence[Expression]) -> list[Row] | None:
        """All values of these keys; None where there are too many rows to look at."""
        waiting = [Listed(table.columns, tuple(self._passing(table.columns, table))) for table in self.tables]
        tied = set[int]()  # columns that are equal to one that is there
        while waiting:
            place = min(
                range(len(waiting)), key=lambda at: (tied.isdisjoint(waiting[at].columns), len(waiting[at].rows))
            )
            table = waiting.pop(place)
            if self._add(table):
                tied = tied.union(*(self.equal.get(column, set()) for column in table.columns))
            elif self.needed & set(table.columns):
                return None
        at = {column: ColumnRef(place) for place, column in enumerate(self.columns)}
        known = [self.facts[column] for column in self.columns]
        if not self.effort.allows(sum(map(size, keys)) * len(self.rows)):
            return None
        values = [evaluator(key, known) for key in moved(keys, at)]
        return list(dict.fromkeys(tuple(value(row) for value in values) for row in self.rows))

    def _add(self, table: Listed) -> bool:
        """Whether the table could be brought in; what it would have told is else not used."""
        there = {column: place for place, column in enumerate(self.columns)}
        ties = [
            (there[mine], theirs)
            for theirs, column in enumerate(table.columns)
            for mine in self.equal.get(column, set()) & there.keys()
        ]
        met = dict[Row, list[Row]]()
        for row in table.rows:
            met.setdefault(tuple(row[theirs] for _, theirs in ties), []).append(row)
        pairs = [(row, met.get(tuple(row[mine] for mine, _ in ties), [])) for row in self.rows]
        count, columns = sum(len(others) for _, others in pairs), (*self.columns, *table.columns)
        if count > MAX_ROWS or not self.effort.allows(count * len(columns)):
            return False
        self.columns = columns
        self.rows = [(*row, *other) for row, others in pairs for other in others]
        self.rows = self._passing(self.columns, table)
        return True

    def _passing(self, columns: tuple[int, ...], table: Listed) -> list[Row]:
        """The rows of these columns for which conditions on the table's, and on others among them, are TRUE."""
        rows = list(table.rows) if columns == table.columns else self.rows
        places = {column: ColumnRef(place) for place, column in enumerate(columns)}
        known = [self.facts[column] for column in columns]
        for each in dict.fromkeys(each for column in table.columns for each in self.reads.get(column, ())):
            read = columns_in(each)
            if not read <= places.keys() or not self.effort.allows(size(each) * len(rows)):
                continue
            try:
                test = evaluator(moved((each,), places)[0], known)
            except Unfit:
                continue
            rows = [row for row in rows if test(row) is True]
        return rows


def _equal_columns(condition: Expression, facts: Sequence[Facts]) -> list[tuple[int, int]]:
    """Two columns that the condition says are equal, both ways, where equal values are held alike."""
    if not isinstance(condition, Call) or condition.function != "eq":
        return []
    one, other = condition.args
    if not isinstance(one, ColumnRef) or not isinstance(other, ColumnRef):
        return []
    first, second = facts[one.index], facts[other.index]
    if (first.kind, first.scale) != (second.kind, second.scale):
        return []
    return [(one.index, other.index), (other.index, one.index)]


def _cut(table: Listed, used: set[int]) -> Listed:
    """The table with the used columns alone, every row once."""
    kept = [place for place, column in enumerate(table.columns) if column in used]
    rows = dict.fromkeys(tuple(row[place] for place in kept) for row in table.rows)
    return Listed(tuple(table.columns[place] for place in kept), tuple(rows))
