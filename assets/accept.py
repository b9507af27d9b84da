"""Which rows of a source are kept, and how many are not, by column and reason.

Every distinct value of a column is judged once (assets.cells), in Python and exactly; rows carry codes. Codes are ranks:
their order is the order of the values, nulls last, so that rows can be sorted without the values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.cells import Judged, Reason, Stored, rule_for, unit_rule
from assets.declaration_model import Declaration
from assets.physical import arrow_schema, arrow_type
from privacy.schema import Column

Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_REASONS = tuple(Reason)


@dataclass(frozen=True)
class CodedColumn:
    """One column of the rows kept: its distinct values in ascending order, and each row's rank; len(values) means null."""

    column: Column
    values: list[Stored]
    codes: Codes


@dataclass(frozen=True)
class Rejected:
    """How many rows broke one rule in one column. A row that breaks several is counted under each."""

    column: str
    reason: Reason
    rows: int


@dataclass(frozen=True)
class Accepted:
    """The rows kept, as codes, and the counts for the operator's report."""

    declaration: Declaration
    columns: tuple[CodedColumn, ...]
    rows_read: int
    rows_kept: int
    rejected: tuple[Rejected, ...]

    @property
    def unit(self) -> CodedColumn:
        """The unit column; its values are the units of the rows kept and no others."""
        return next(coded for coded in self.columns if coded.column.name == self.declaration.population.unit)

    def table(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """These of the rows kept, in this order, in the form of a block."""
        pairs = zip(self._values, self.columns, strict=True)
        arrays = [values.take(pa.array(coded.codes[rows])) for values, coded in pairs]
        return pa.Table.from_arrays(arrays, schema=arrow_schema(self.declaration.schema))

    @cached_property
    def _values(self) -> list[pa.Array]:
        """Each column's distinct values and null, in the order of their codes."""
        return [pa.array([*coded.values, None], arrow_type(coded.column)) for coded in self.columns]


def accept(source: pa.Table, declaration: Declaration, null_values: Collection[str] = ()) -> Accepted:
    """Judge every row of `source`, which has the declared columns. Texts in `null_values` are nulls."""
    unit = declaration.population.unit
    judged = {
        column.name: _judge(source.column(column.name), _rule(column, declaration), frozenset(null_values))
        for column in declaration.columns
    }
    without_unit = judged[unit].reasons == _code(Reason.UNIT_MISSING)
    kept = np.ones(source.num_rows, dtype=np.bool_)
    for found in judged.values():
        kept &= found.reasons == 0
    rejected = _counts(judged, unit, without_unit)
    columns = tuple(judged[column.name].coded(column, kept) for column in declaration.columns)
    return Accepted(declaration, columns, source.num_rows, int(kept.sum()), rejected)


@dataclass(frozen=True)
class _JudgedColumn:
    """What became of one column: the stored value of each distinct cell, each row's cell, and each row's reason (0: kept)."""

    stored: list[Stored | None]
    cells: Codes
    reasons: npt.NDArray[np.uint8]

    def coded(self, column: Column, kept: Mask) -> CodedColumn:
        """The column of the rows kept, ranked."""
        cells = self.cells[kept]
        used = np.unique(cells).tolist()
        values: list[Any] = sorted({self.stored[cell] for cell in used} - {None})
        ranks: dict[Stored | None, int] = {value: rank for rank, value in enumerate(values)}
        ranks[None] = len(values)
        of_cell = np.zeros(len(self.stored), dtype=np.int32)
        of_cell[used] = [ranks[self.stored[cell]] for cell in used]
        return CodedColumn(column, values, of_cell[cells])


def _rule(column: Column, declaration: Declaration) -> Callable[[object], Judged | None]:
    """The column's rule, with what a null means for it: a reason, or None where the column is nullable."""
    absent: Reason | None
    if column.name == declaration.population.unit:
        rule, absent = unit_rule(declaration.population.unit_type, column.max_length), Reason.UNIT_MISSING
    else:
        rule, absent = rule_for(column), None if column.nullable else Reason.MISSING
    return lambda cell: absent if cell is None else rule(cell)


def _judge(
    cells: pa.ChunkedArray, rule: Callable[[object], Judged | None], null_values: frozenset[str]
) -> _JudgedColumn:
    encoded = cells.dictionary_encode().unify_dictionaries()
    distinct = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
    null = len(distinct)
    codes = np.concatenate(
        [
            np.zeros(0, np.int32),
            *(chunk.indices.fill_null(null).to_numpy(zero_copy_only=False) for chunk in encoded.chunks),
        ]
    ).astype(np.int32)
    judged: list[Judged | None] = [rule(None if cell in null_values else cell) for cell in distinct]
    judged.append(rule(None))
    reasons = np.array([_code(found) if isinstance(found, Reason) else 0 for found in judged], dtype=np.uint8)
    stored = [None if isinstance(found, Reason) else found for found in judged]
    return _JudgedColumn(stored, codes, reasons[codes])


def _code(reason: Reason) -> int:
    return _REASONS.index(reason) + 1


def _counts(judged: dict[str, _JudgedColumn], unit: str, without_unit: Mask) -> tuple[Rejected, ...]:
    """A row without a unit is counted by that rule alone, whatever else is wrong with it."""
    found: list[Rejected] = []
    for name, column in judged.items():
        reasons = column.reasons if name == unit else column.reasons[~without_unit]
        counts = np.bincount(reasons, minlength=len(_REASONS) + 1)
        found.extend(Rejected(name, reason, int(counts[_code(reason)])) for reason in _REASONS if counts[_code(reason)])
    return tuple(found)
