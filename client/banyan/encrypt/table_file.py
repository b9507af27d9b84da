"""A provider's CSV or Parquet file as batches of texts, and where in it a row stands: of a fault the place is said, never a value."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from banyan.encrypt import csv_header
from banyan.errors import Refused
from banyan.textfile import unreadable

BATCH_BYTES, BATCH_ROWS = 8 << 20, 1 << 17
# A quote at the beginning of a cell; and within a quoted cell one that is not written twice, at the end of its cell or elsewhere.
_OPENS, _ENDS = re.compile(r'(?<![^,])"'), re.compile(r'""|(?P<closes>"(?=[,\r\n]|$))|(?P<wrong>")')
_QUOTES = 'one quote before and one after the whole cell, and two ("") for one that belongs to its text'
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
        with self._text() as file:
            line = 0
            try:
                for line, cells in _rows(file):
                    if len(cells) != len(self.names):
                        text = f"this row has {len(cells)} cells, and the header {len(self.names)}"
                        return self._unreadable(text, line, "put quotes around cells that hold commas or line breaks")
            except csv.Error:
                text = "a quote that is opened on this line is not closed where its cell ends"
                return self._unreadable(text, self._opened(line), _QUOTES)
        return self._unreadable("the file is not CSV text throughout", 1, "save it as CSV UTF-8 again")

    def place(self, row: int) -> dict[str, Any]:
        """With the line on which the row begins, found by reading again up to it."""
        try:
            with self._text() as file:
                for number, (line, _) in enumerate(_rows(file)):
                    if number == row:
                        return {"file": self.path.name, "line": line}
        except (UnicodeDecodeError, csv.Error):
            raise self.fault() from None  # the row is none: what stands before it is no CSV text
        except OSError:
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
            doubtful = False
            for batch in reader:
                doubtful = doubtful or any(_is_doubtful(column) for column in batch.columns)
                yield Batch(tuple(batch.columns), batch.num_rows, min(file.tell(), size), size)
        if doubtful:
            self._check_strictly()

    def _check_strictly(self) -> None:
        """Raise Refused for a quote that is not closed where its cell ends: Arrow reads on, and the rows up to the next quote are lost."""
        try:
            with self._text() as file:
                for _ in csv.reader(file, strict=True):
                    pass
        except csv.Error:
            raise self.fault() from None

    def _text(self) -> TextIO:
        return self.path.open(encoding="utf-8-sig", newline="")

    def _opened(self, whole: int) -> int:
        """The line on which a quote is opened that is not closed where its cell ends, after the whole row that begins on this line."""
        with self._text() as file:
            opened: int | None = None
            for number, line in enumerate(file, start=1):
                if number < whole:
                    continue
                at = 0
                while found := (_OPENS if opened is None else _ENDS).search(line, at):
                    at = found.end()
                    if opened is None:
                        opened = number
                    elif found["wrong"]:
                        return opened
                    elif found["closes"]:
                        opened = None
        return opened or whole + 1

    def _unreadable(self, text: str, line: int, way_out: str) -> Refused:
        return Refused("data.unreadable", text, {"file": self.path.name, "line": line}, way_out)


def _is_doubtful(column: pa.Array) -> bool:
    """Whether a cell holds a line break and a quote: seldom somebody's text, often several rows behind a quote that was left open."""
    broken = pc.match_substring(column, "\n")
    return bool(pc.any(pc.and_(broken, pc.match_substring(column, '"'))).as_py()) if pc.any(broken).as_py() else False


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its cells; lines without anything are no rows, as for Arrow's reader."""
    reader = csv.reader(lines, strict=True)
    line = 1
    for cells in reader:
        if cells:
            yield line, cells
        line = reader.line_num + 1


def open_table(path: Path, needed: Collection[str]) -> Table:
    """The file as a table that has each needed column once.

    Raises Refused (`data.format`, `data.empty`, `data.column`, `data.unreadable`, `file.unusable`).
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        raise unreadable(path, IsADirectoryError())
    if suffix not in (".csv", ".parquet"):
        raise Refused("data.format", f"{path.name} is of no known format", way_out=".csv or .parquet")
    try:
        table = CsvTable(path, csv_header.names_in(path)) if suffix == ".csv" else _parquet(path, needed)
        csv_header.check_names(path, table.names, needed)
    except OSError as problem:
        raise (Table(path, ()).fault() if problem.errno is None else unreadable(path, problem)) from None
    return table


def _parquet(path: Path, needed: Collection[str]) -> Table:
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException:
        raise Table(path, ()).fault() from None
    return Table(
        path, [field.name for field in schema if field.name in needed or any(flat(field.type) for flat in _FLAT)]
    )
