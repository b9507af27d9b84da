"""Reads a provider's file and checks every cell that is needed: exact numbers on a grid, known groups, no empty unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from banyan.encrypt.terms import Bounded, Terms
from banyan.errors import Refused

Integers = npt.NDArray[np.int64]
LARGEST = 2**62
BATCH_BYTES = 8 << 20
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Rows:
    """The rows that count, one entry a row: the unit's number, the group's, and each column on its grid.

    `names` are the units' own texts by number; `dropped` is how many rows had a null and were left out.
    """

    unit: Integers
    group: Integers
    columns: dict[str, Integers]
    names: tuple[str, ...]
    dropped: int

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.names)


def read_rows(path: Path, terms: Terms, *, drop_nulls: bool, progress: Progress | None = None) -> Rows:
    """The rows of a CSV or Parquet file. Raises Refused (`data.…`) with row and column; rows count from 1, the header is none."""
    bounded = {total.column: total for total in terms.totals}
    if terms.least_squares is not None:
        bounded |= {each.column: each for each in (*terms.least_squares.features, terms.least_squares.target)}
    names = [terms.unit, *([terms.group_by] if terms.group_by else []), *bounded]
    known: dict[str, int] = {}
    parts: list[tuple[Integers, Integers, dict[str, Integers]]] = []
    seen = dropped = 0
    for batch in _batches(path, names):
        texts = {name: _texts(batch.column(name)) for name in names}
        keep = _kept(texts, seen, drop_nulls=drop_nulls)
        dropped += int((~keep).sum())
        places = np.flatnonzero(keep) + seen
        kept = {name: column.filter(pa.array(keep)) for name, column in texts.items()}
        unit = _coded(kept[terms.unit], lambda text: known.setdefault(text, len(known)))
        group = _groups(kept[terms.group_by], terms, places) if terms.group_by else np.zeros(len(unit), np.int64)
        columns = {name: _numbers(kept[name], each, places) for name, each in bounded.items()}
        parts.append((unit, group, columns))
        seen += batch.num_rows
        if progress is not None:
            progress(seen)
    if not parts or not known:
        raise Refused("data.empty", f"{path.name} has no rows")
    return Rows(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        {name: np.concatenate([part[2][name] for part in parts]) for name in bounded},
        tuple(known),
        dropped,
    )


def _batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        if path.suffix.lower() == ".parquet":
            file = pq.ParquetFile(path)
            _check_columns(path, file.schema_arrow.names, names)
            yield from file.iter_batches(columns=list(dict.fromkeys(names)))
            return
        if path.suffix.lower() != ".csv":
            raise Refused("data.format", f"{path.name} is of no known format", way_out=".csv or .parquet")
        reading = pa.csv.ReadOptions(block_size=BATCH_BYTES)
        with path.open("rb") as plain:
            header = plain.readline(1 << 20)
        _check_columns(path, pa.csv.read_csv(pa.BufferReader(header)).column_names, names)
        converting = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(dict.fromkeys(names)),
            strings_can_be_null=True,
            null_values=["", "NA"],
            quoted_strings_can_be_null=True,
        )
        with pa.csv.open_csv(path, read_options=reading, convert_options=converting) as reader:
            yield from reader
    except (pa.ArrowException, OSError) as problem:
        said = str(problem).splitlines()[0][:200] if isinstance(problem, pa.ArrowInvalid) else "cannot be read"
        raise Refused("data.unreadable", f"{path.name}: {said}") from None


def _check_columns(path: Path, found: list[str], names: list[str]) -> None:
    for name in names:
        if found.count(name) != 1:
            told = "has no column" if name not in found else "has more than one column"
            raise Refused("data.column", f"{path.name} {told} {name}", way_out=f"its columns: {', '.join(found[:40])}")


def _texts(column: pa.Array) -> pa.Array:
    """As texts, from which numbers are read exactly; a float has its shortest text."""
    return pc.cast(column, pa.string())


def _kept(texts: dict[str, pa.Array], before: int, *, drop_nulls: bool) -> npt.NDArray[np.bool_]:
    first = next(iter(texts.values()))
    keep = np.ones(len(first), np.bool_)
    for name, column in texts.items():
        empty = np.asarray(pc.is_null(column)) | np.asarray(
            pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)
        )
        if empty.any() and not drop_nulls:
            raise Refused(
                "data.null",
                f"row {before + int(np.flatnonzero(empty)[0]) + 1:,} has nothing in the column {name}",
                way_out="--drop-nulls leaves such rows out, and says how many",
            )
        keep &= ~empty
    return keep


def _coded(column: pa.Array, number_of: Callable[[str], int]) -> Integers:
    """Each row's number, by a function of its text that is called once a distinct text of the batch."""
    coded = column.dictionary_encode()
    numbers = np.array([number_of(text) for text in coded.dictionary.to_pylist()], np.int64)
    return numbers[coded.indices.to_numpy(zero_copy_only=False)] if len(numbers) else np.zeros(0, np.int64)


def _groups(column: pa.Array, terms: Terms, places: npt.NDArray[Any]) -> Integers:
    at = {group: number for number, group in enumerate(terms.groups)}
    found = _coded(column, lambda text: at.get(text, -1))
    if (found < 0).any():
        row = int(places[int(np.flatnonzero(found < 0)[0])]) + 1
        raise Refused(
            "data.group",
            f"row {row:,} has another {terms.group_by} than the public ones",
            way_out=f"one of {', '.join(terms.groups[:20])}",
        )
    return found


def _numbers(column: pa.Array, bounded: Bounded, places: npt.NDArray[Any]) -> Integers:
    """The cells as whole numbers on the column's grid."""
    wrong: dict[str, str] = {}

    def number_of(text: str) -> int:
        try:
            number = Decimal(text.strip()).scaleb(bounded.scale)
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite():
            wrong.setdefault(text, "is not a number")
            return 0
        if number != number.to_integral_value():
            wrong.setdefault(text, f"has more than {bounded.scale} decimals")
            return 0
        if abs(number) > LARGEST:
            wrong.setdefault(text, "is too large")
            return 0
        return int(number)

    found = _coded(column, number_of)
    if wrong:
        text, why = next(iter(wrong.items()))
        row = int(places[column.to_pylist().index(text)]) + 1
        raise Refused(
            "data.number",
            f"row {row:,}, column {bounded.column}: the value {why}",
            way_out=f"a decimal number with at most {bounded.scale} decimals",
        )
    return found
