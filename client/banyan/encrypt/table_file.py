"""A provider's CSV or Parquet file as batches of texts, and where in it a row stands: of a fault the place is said, never a value."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from banyan.errors import Refused
from banyan.textfile import unreadable

BATCH_BYTES, BATCH_ROWS = 8 << 20, 1 << 17
MAX_HEADER_BYTES = 1 << 20
# Types of Parquet whose values are one text each; rows are compared in these only.
_FLAT = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal,
    pa.types.is_boolean, pa.types.is_temporal, pa.types.is_dictionary,
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Some rows as they follow each other: their columns as texts, in the order of `Table.names`; and how far the file is read."""

    columns: tuple[pa.Array, ...]
    rows: int
    done: int
    of: int


class Table:
    """See the module. `names` are the columns that are read."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.names = path, list(names)

    def batches(self) -> Iterator[Batch]:
        """The rows in order. Raises Refused (`data.unreadable`)."""
        try:
            yield from self._read()
        except pa.ArrowException:
            raise self.fault() from None
        except OSError as problem:
            # Arrow's own complaints about a damaged file have no number of an operating system's.
            raise (self.fault() if problem.errno is None else unreadable(self.path, problem)) from None

    def fault(self) -> Refused:
        """The refusal for a file that Arrow does not read."""
        return Refused("data.unreadable", f"{self.path.name} is not a whole Parquet file", {"file": self.path.name})

    def place(self, row: int) -> dict[str, Any]:
        """Where the row with this number (from 1, without the header) stands, for a refusal's `where`."""
        return {"file": self.path.name, "row": row}

    def _read(self) -> Iterator[Batch]:
        file = pq.ParquetFile(self.path)
        done, of = 0, file.metadata.num_rows
        for batch in file.iter_batches(BATCH_ROWS, columns=self.names):
            done += batch.num_rows
            columns = tuple(pc.cast(batch.column(name), pa.string()) for name in self.names)
            yield Batch(columns, batch.num_rows, done, of)


class CsvTable(Table):
    """A CSV file with a header: UTF-8, commas, quotes as usual."""

    def fault(self) -> Refused:
        """With the line of what cannot be read, found by reading again."""
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    raw.decode()
                except UnicodeDecodeError:
                    return self._unreadable("this line is not UTF-8 text", number, "save the file as UTF-8")
        line = 1
        try:
            for line, cells in self._rows():
                if len(cells) != len(self.names):
                    text = f"this row has {len(cells)} cells, and the header {len(self.names)}"
                    return self._unreadable(text, line, "put quotes around cells that hold commas or line breaks")
        except csv.Error:
            pass
        return self._unreadable("the file is not CSV text from here on", line, "a quote may be left open")

    def place(self, row: int) -> dict[str, Any]:
        """With the line on which the row begins, found by reading again up to it."""
        try:
            for number, (line, _) in enumerate(self._rows()):
                if number == row:
                    return {"file": self.path.name, "line": line}
        except (UnicodeDecodeError, csv.Error, OSError):
            pass
        return super().place(row)

    def _read(self) -> Iterator[Batch]:
        size = self.path.stat().st_size
        # Every column is read as text, so that nothing is guessed and nothing rounded.
        converting = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(self.names, pa.string()), strings_can_be_null=False, check_utf8=True
        )
        with (
            pa.OSFile(str(self.path)) as file,
            pa.csv.open_csv(
                file,
                pa.csv.ReadOptions(block_size=BATCH_BYTES),
                pa.csv.ParseOptions(newlines_in_values=True),
                converting,
            ) as reader,
        ):
            for batch in reader:
                yield Batch(tuple(batch.columns), batch.num_rows, min(file.tell(), size), size)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """The line on which each row begins, and its cells; lines without anything are no rows, as for the reader above."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            line = 1
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1

    def _unreadable(self, text: str, line: int, way_out: str) -> Refused:
        return Refused("data.unreadable", text, {"file": self.path.name, "line": line}, way_out)


def open_table(path: Path, needed: Collection[str]) -> Table:
    """The file as a table that has each needed column once.

    Raises Refused (`data.format`, `data.empty`, `data.column`, `data.unreadable`, `file.unusable`).
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise Refused("data.format", f"{path.name} is of no known format", way_out=".csv or .parquet")
    try:
        table = _csv(path) if suffix == ".csv" else _parquet(path, needed)
    except OSError as problem:
        raise (Table(path, ()).fault() if problem.errno is None else unreadable(path, problem)) from None
    for name in needed:
        if table.names.count(name) != 1:
            told = "has no column" if name not in table.names else "has more than one column"
            way_out = f"its columns are {', '.join(table.names[:40])}"
            raise Refused("data.column", f"the file {told} {name}", {"file": path.name, "field": name}, way_out)
    return table


def _csv(path: Path) -> Table:
    with path.open("rb") as file:
        first = file.readline(MAX_HEADER_BYTES)
    try:
        names = next(csv.reader([first.decode("utf-8-sig")], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        text = "the first line, which names the columns, is not UTF-8 text of a CSV file"
        raise Refused("data.unreadable", text, {"file": path.name, "line": 1}) from None
    if not names:
        raise Refused("data.empty", "the first line names no columns", {"file": path.name, "line": 1})
    return CsvTable(path, names)


def _parquet(path: Path, needed: Collection[str]) -> Table:
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException:
        raise Table(path, ()).fault() from None
    return Table(
        path, [field.name for field in schema if field.name in needed or any(flat(field.type) for flat in _FLAT)]
    )
