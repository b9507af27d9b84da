"""Which rows of a provider's file count, each as whole numbers: every cell that is needed is looked at, and what does not fit is refused.

The file is read in batches. What is kept of a row is its unit's text, its group's number, and its numbers on their grids; rows are laid
into parts by a hash of the unit, so that all rows of a unit are in one part, and what follows is done a part at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from banyan.encrypt import cells
from banyan.encrypt.cells import CellFault, Flags, Integers
from banyan.encrypt.decimals import Decimals
from banyan.encrypt.declared import Declared
from banyan.encrypt.table_file import Batch, Table, open_table
from banyan.encrypt.terms import Bounded, Terms
from banyan.encrypt.text_hash import Repeats, TextHash
from banyan.errors import Refused

# How much of the file is read, and of how much.
Progress = Callable[[int, int], None]
Codes = npt.NDArray[np.int32]
Groups = npt.NDArray[np.uint16]
# So many bits of its unit's hash say which part a row is laid into.
PART_BITS = 5


@dataclass(frozen=True)
class Part:
    """Some units with all their rows: of each row its unit's number, its group's number, and by column its number on the grid.

    `names` are the units' texts, by number.
    """

    unit: Codes
    group: Groups
    columns: Mapping[str, Integers]
    names: pa.Array


@dataclass(frozen=True)
class Rows:
    """The rows that count.

    dropped   rows left out because a cell that is needed holds nothing
    repeated  rows of the file that repeat another one in every cell
    """

    parts: tuple[Part, ...]
    dropped: int
    repeated: int

    @property
    def units(self) -> int:
        """How many units there are."""
        return sum(len(part.names) for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part.unit) for part in self.parts)


def bounded_columns(terms: Terms) -> dict[str, Bounded]:
    """The columns whose numbers are needed, each with its grid. Raises Refused (`option.column`) for one with two grids."""
    regression = terms.least_squares
    others = [] if regression is None else [*regression.features, regression.target]
    found: dict[str, Bounded] = {}
    for each in (*terms.totals, *others):
        if found.setdefault(each.column, each).scale != each.scale:
            raise Refused("option.column", f"the terms give {each.column} two different numbers of decimals")
    return found


def read_rows(path: Path, declared: Declared, *, drop_nulls: bool, progress: Progress | None = None) -> Rows:
    """The rows of a CSV or Parquet file.

    Raises Refused (`data.…`) with file, line and column: for a cell that holds nothing (`data.null`; with `drop_nulls` its row is left
    out), is no number, has more digits than its column or not as many as the rest (`data.number`), is no public group (`data.group`) or no
    unit (`data.unit`); for a missing or doubled column (`data.column`), no row at all (`data.empty`), and a file that cannot be read.
    """
    terms = declared.terms
    needed = dict.fromkeys([terms.unit, *([terms.group_by] if terms.group_by else []), *bounded_columns(terms)])
    table = open_table(path, needed)
    reading = _Reading(table, declared, list(needed), drop_nulls=drop_nulls)
    for batch in table.batches():
        reading.take(batch)
        if progress is not None:
            progress(batch.done, batch.of)
    return reading.rows()


@dataclass
class _Bucket:
    """What was read of a part so far, in batches."""

    units: list[pa.Array]
    groups: list[Groups]
    numbers: dict[str, list[Integers]]

    def part(self) -> Part:
        """The part; the bucket is empty afterwards."""
        units = pa.chunked_array(self.units).combine_chunks().dictionary_encode()
        self.units.clear()
        columns = {name: np.concatenate(self.numbers.pop(name)) for name in list(self.numbers)}
        return Part(np.asarray(units.indices), np.concatenate(self.groups), columns, units.dictionary)


class _Reading:
    """What was read so far."""

    def __init__(self, table: Table, declared: Declared, needed: list[str], *, drop_nulls: bool) -> None:
        self._table, self._declared, self._drop_nulls = table, declared, drop_nulls
        self._needed = {name: table.names.index(name) for name in needed}
        self._bounded = bounded_columns(declared.terms)
        self._decimals = {name: Decimals(each.scale) for name, each in self._bounded.items()}
        self._groups = pa.array(declared.terms.groups, pa.string())
        self._buckets = [_Bucket([], [], {name: [] for name in self._bounded}) for _ in range(1 << PART_BITS)]
        self._hash, self._repeats = TextHash(), Repeats()
        self._seen = self._dropped = 0

    def take(self, batch: Batch) -> None:
        """Check and keep a batch."""
        self._repeats.take(batch.columns)
        texts = {name: batch.columns[at] for name, at in self._needed.items()}
        keep = self._kept(texts)
        places = np.flatnonzero(keep)
        if len(places) < batch.rows:
            chosen = pa.array(keep)
            texts = {name: column.filter(chosen) for name, column in texts.items()}
        terms = self._declared.terms
        name = terms.unit
        try:
            unit = cells.units(texts[name], whole=self._declared.whole_units)
            group = np.zeros(len(places), np.uint16)
            if terms.group_by is not None:
                name = terms.group_by
                group = cells.groups(texts[name], self._groups).astype(np.uint16)
            numbers = {}
            for name, bounded in self._bounded.items():
                numbers[name] = cells.numbers(texts[name], bounded)
                self._check_decimals(name, texts[name], places)
        except CellFault as fault:
            raise self._refused(fault, int(places[fault.at]), name) from None
        self._lay(unit, group, numbers)
        self._seen += batch.rows
        self._dropped += batch.rows - len(places)

    def _check_decimals(self, name: str, column: pa.Array, places: Integers) -> None:
        decimals = self._decimals[name]
        if not decimals.take(column, self._seen + places + 1) and decimals.first is not None:
            fault = CellFault("data.number", 0, decimals.why(), decimals.way_out())
            raise self._refused(fault, decimals.first - self._seen - 1, name)

    def rows(self) -> Rows:
        """All of them. Raises Refused (`data.empty`)."""
        if self._seen == self._dropped:
            left = "; every row lacks a cell that is needed" if self._dropped else ""
            raise Refused("data.empty", f"the file has no row that counts{left}", {"file": self._table.path.name})
        repeated = self._repeats.count()
        parts = [bucket.part() for bucket in self._buckets if bucket.units]
        return Rows(tuple(parts), self._dropped, repeated)

    def _lay(self, unit: pa.Array, group: Groups, numbers: Mapping[str, Integers]) -> None:
        bucket = (self._hash.of([unit]) >> np.uint64(64 - PART_BITS)).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(np.bincount(bucket, minlength=len(self._buckets)))
        unit = unit.take(pa.array(order))
        for at, (end, size) in enumerate(zip(ends, np.diff(ends, prepend=0), strict=True)):
            if not size:
                continue
            chosen = order[end - size : end]
            into = self._buckets[at]
            into.units.append(unit.slice(end - size, size))
            into.groups.append(group[chosen])
            for name, column in numbers.items():
                into.numbers[name].append(column[chosen])

    def _kept(self, texts: Mapping[str, pa.Array]) -> Flags:
        keep = np.ones(len(next(iter(texts.values()))), np.bool_)
        for name, column in texts.items():
            empty = cells.nothing(column, self._declared.null_values)
            if empty.any() and not self._drop_nulls:
                way_out = "--drop-nulls leaves such rows out, and says how many"
                fault = CellFault("data.null", int(np.flatnonzero(empty)[0]), "holds nothing", way_out)
                raise self._refused(fault, fault.at, name)
            keep &= ~empty
        return keep

    def _refused(self, fault: CellFault, at: int, name: str) -> Refused:
        row = self._seen + at + 1
        where = self._table.place(row) | {"field": name}
        in_row = "" if "line" in where else f"row {row:,}, "
        return Refused(fault.code, f"{in_row}column {name}: the cell {fault.why}", where, fault.way_out)
