"""Which rows of a source are kept, and how many are not, by column and reason: batch by batch, each row once.

Most cells are judged by the column (assets.verdicts, assets.text_verdicts); the rest by the rules of assets.cells, each distinct
value of a batch once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute

from assets.cells import Judged, Reason, rule_for, unit_rule
from assets.declaration_model import Declaration
from assets.physical import arrow_schema, arrow_type
from assets.text_verdicts import text_verdicts
from assets.verdicts import Codes, Verdicts, code_of, verdicts_on
from privacy.schema import TEXTUAL, Column, ColumnType

_REASONS = tuple(Reason)


@dataclass(frozen=True)
class Rejected:
    """How many rows broke one rule in one column. A row that breaks several is counted under each."""

    column: str
    reason: Reason
    rows: int


@dataclass(frozen=True)
class Counts:
    """The exact figures of an ingest, for the operator's report."""

    rows_read: int
    rows_kept: int
    units: int
    rejected: tuple[Rejected, ...]


class Judge:
    """Judges batches against one declaration, and counts. Texts in `null_values` are nulls."""

    def __init__(self, declaration: Declaration, null_values: Collection[str] = ()) -> None:
        self.schema = arrow_schema(declaration.schema)
        self.rows_read = self.rows_kept = 0
        self._columns = [_ColumnJudge(column, declaration, null_values) for column in declaration.columns]
        self._unit = [column.name for column in declaration.columns].index(declaration.population.unit)
        self._rejected = np.zeros((len(self._columns), len(_REASONS) + 1), np.int64)

    def kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows kept of a batch in plain types, which has the declared columns; in their order, in the form of a block."""
        judged = [column.judged(batch.column(column.name)) for column in self._columns]
        self._count([verdicts.reasons for verdicts in judged])
        rows = pa.RecordBatch.from_arrays([verdicts.stored for verdicts in judged], schema=self.schema)
        is_kept = np.logical_and.reduce([verdicts.reasons == 0 for verdicts in judged])
        self.rows_read += len(is_kept)
        self.rows_kept += int(is_kept.sum())
        return rows if is_kept.all() else rows.filter(pa.array(is_kept))

    def counts(self, units: int) -> Counts:
        """What was counted so far; `units` is how many there are in the rows kept."""
        found = tuple(
            Rejected(column.name, reason, int(self._rejected[index, code_of(reason)]))
            for index, column in enumerate(self._columns)
            for reason in _REASONS
            if self._rejected[index, code_of(reason)]
        )
        return Counts(self.rows_read, self.rows_kept, units, found)

    def _count(self, reasons: list[Codes]) -> None:
        """A row without a unit is counted by that rule alone, whatever else is wrong with it."""
        with_unit = reasons[self._unit] != code_of(Reason.UNIT_MISSING)
        for index, found in enumerate(reasons):
            counted = found if index == self._unit else found[with_unit]
            self._rejected[index] += np.bincount(counted, minlength=len(_REASONS) + 1)


def kept_rows(
    batches: Iterable[pa.RecordBatch], declaration: Declaration, null_values: Collection[str] = ()
) -> tuple[pa.Table, Counts]:
    """All rows kept, in memory, and the counts."""
    judge = Judge(declaration, null_values)
    rows = pa.Table.from_batches([judge.kept(batch) for batch in batches], judge.schema)
    units = compute.count_distinct(rows.column(declaration.population.unit)).as_py()
    return rows, judge.counts(units)


class _ColumnJudge:
    """The rule of one column."""

    def __init__(self, column: Column, declaration: Declaration, null_values: Collection[str]) -> None:
        self.name = column.name
        self._column = column
        self._null_values = pa.array(sorted(null_values), pa.utf8())
        self._kind = arrow_type(column)
        self._unit_type: ColumnType | None = None
        self._rule: Callable[[object], Judged]
        absent: Reason | None
        if column.name == declaration.population.unit:
            self._unit_type = declaration.population.unit_type
            self._rule, absent = unit_rule(self._unit_type, column.max_length), Reason.UNIT_MISSING
        else:
            self._rule, absent = rule_for(column), None if column.nullable else Reason.MISSING
        self._absent = 0 if absent is None else code_of(absent)

    def judged(self, cells: pa.Array) -> Verdicts:
        """Every cell decided; what has a reason is stored as null."""
        is_null = _numpy(cells.is_null())
        if pa.types.is_string(cells.type):
            is_null |= _numpy(compute.is_in(cells, self._null_values))
        elif pa.types.is_integer(cells.type) and self._column.type in TEXTUAL:
            cells = cells.cast(pa.utf8())
        if pa.types.is_string(cells.type):
            found = _of_distinct(cells, self._texts)
        else:
            found = self._closed(cells, verdicts_on(cells, self._column))
        reasons = np.where(is_null, np.uint8(self._absent), found.reasons)
        without = is_null | (reasons != 0)
        stored = found.stored
        if without.all():
            stored = pa.nulls(len(cells), self._kind)
        elif without.any():
            stored = compute.if_else(pa.array(without), pa.scalar(None, self._kind), stored)
        return Verdicts(stored, reasons, found.is_open)

    def _texts(self, texts: pa.Array) -> Verdicts:
        return self._closed(texts, text_verdicts(texts, self._column, self._unit_type))

    def _closed(self, cells: pa.Array, found: Verdicts | None) -> Verdicts:
        """The rule decides what is open, but for nulls."""
        found = Verdicts.none(cells, self._kind) if found is None else found
        asked = found.is_open & _numpy(cells.is_valid())
        if not asked.any():
            return found
        by_rule = _of_distinct(cells.filter(pa.array(asked)), self._by_rule)
        reasons = found.reasons.copy()
        reasons[asked] = by_rule.reasons
        stored = compute.replace_with_mask(found.stored, pa.array(asked), by_rule.stored)
        return Verdicts(stored, reasons, np.zeros(len(cells), np.bool_))

    def _by_rule(self, cells: pa.Array) -> Verdicts:
        judged = [self._rule(cell) for cell in cells.to_pylist()]
        reasons = np.array([code_of(each) if isinstance(each, Reason) else 0 for each in judged], np.uint8)
        stored = [None if isinstance(each, Reason) else each for each in judged]
        return Verdicts(pa.array(stored, self._kind), reasons, np.zeros(len(cells), np.bool_))


def _of_distinct(cells: pa.Array, judge: Callable[[pa.Array], Verdicts]) -> Verdicts:
    """Judges each distinct value once; of nulls nothing is said."""
    encoded = cells.dictionary_encode()
    if not len(encoded.dictionary):
        return Verdicts.none(cells, cells.type)
    found = judge(encoded.dictionary)
    indices = compute.fill_null(encoded.indices, 0)
    return Verdicts(found.stored.take(indices), *(each[_numpy(indices)] for each in (found.reasons, found.is_open)))


def _numpy(cells: pa.Array) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = cells.to_numpy(zero_copy_only=False)
    return found
