"""Whether an uploaded file can be read at all: CSV, Parquet or Arrow, with the declared columns; otherwise it is refused whole.

A file is read in batches, so that memory does not grow with it; where a later part cannot be read, the refusal comes then.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from assets.source import Format, Upload, other_columns, plain, plain_type, unreadable
from core.errors import Invalid

ROWS = 1 << 17
SLICE = 1 << 13  # read at once: how wide a row is, is not known before
BYTES = 32 << 20
ARROW_MAGIC = b"ARROW1"
ARROW_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_CSV_BLOCK = 8 << 20
_COLUMN_BUFFER = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file being read: its declared columns in plain types, and the names of those it has beyond them.

    A batch has at most ROWS rows, and small ones are joined. Iterating raises as `read_batches` does.
    """

    batches: Iterator[pa.RecordBatch]
    others: list[str]


Reader = Callable[[Upload, list[str]], tuple[Iterator[pa.RecordBatch], list[str]]]


def read_batches(upload: Upload, form: Format, columns: Collection[str]) -> Source:
    """Read the declared columns of a file.

    Raises Invalid (`ingest.unreadable`) if any part of the file cannot be read or a declared column is missing.
    """
    readers: Mapping[Format, Reader] = {
        Format.CSV: _read_csv,
        Format.PARQUET: _read_parquet,
        Format.ARROW: _read_arrow,
    }
    names = list(columns)
    with _refusing(form):
        batches, others = readers[form](upload, names)
    return Source(_joined(_checked(batches, names, form)), others)


@contextmanager
def _refusing(form: Format) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError):
        raise unreadable(f"the file is not a whole {form.value} file, or was damaged on its way") from None


def _checked(batches: Iterator[pa.RecordBatch], names: list[str], form: Format) -> Iterator[pa.RecordBatch]:
    """Slices in plain types. What a reader raises comes out here, and nothing that is done with the rows does."""
    while True:
        with _refusing(form):
            batch = next(batches, None)
            if batch is None:
                return
        for start in range(0, batch.num_rows, SLICE):
            part = batch.slice(start, SLICE)
            with _refusing(form):
                part.validate(full=True)
                arrays = [plain(name, part.column(name)) for name in names]
            yield pa.RecordBatch.from_arrays(arrays, names=names)


def _joined(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that are worth their overhead: a file may come in batches of one row each."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if waiting and (rows + batch.num_rows > ROWS or size + batch.nbytes > BYTES):
            yield pa.concat_batches(waiting)
            waiting, rows, size = [], 0, 0
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
    if waiting:
        yield pa.concat_batches(waiting)


def _read_csv(upload: Upload, names: list[str]) -> tuple[Iterator[pa.RecordBatch], list[str]]:
    others = other_columns(_csv_header(upload), names)
    return _csv_batches(upload, names), others


def _csv_batches(upload: Upload, names: list[str]) -> Iterator[pa.RecordBatch]:
    options = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.utf8()),
        include_columns=names,
        strings_can_be_null=False,
        check_utf8=True,
    )
    rows = 0
    try:
        for batch in _csv_stream(upload, convert_options=options, parse_options=_csv_parsing()):
            rows += batch.num_rows
            yield batch
    except pa.ArrowException:
        raise _csv_fault(upload) from None
    if _line_breaks(upload) > rows + 1:
        _check_quotes(upload)


def _line_breaks(upload: Upload) -> int:
    """More than rows where a cell holds one, or a line is empty."""
    with closing(_stream(upload)) as stream:
        return sum(part.count(b"\n") for part in iter(lambda: stream.read(1 << 22), b""))


def _check_quotes(upload: Upload) -> None:
    """Raise Invalid for a quote that is not closed where its cell ends: Arrow reads on, and the rows up to the next quote are lost."""
    with closing(_stream(upload)) as stream:
        rows = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), strict=True)
        begun = 1
        try:
            for _ in rows:
                begun = rows.line_num + 1
        except csv.Error as problem:
            if "field limit" not in str(problem):
                text = f"a quote in the row that begins on line {begun} is not closed where its cell ends"
                raise unreadable(text, "double every quote inside a quoted cell", line=begun) from None


def _csv_stream(upload: Upload, *, use_threads: bool = True, **options: object) -> Iterator[pa.RecordBatch]:
    """Rows have numbers only where one thread reads them."""
    reading = arrow_csv.ReadOptions(block_size=_CSV_BLOCK, use_threads=use_threads)
    with _opened(upload) as source, arrow_csv.open_csv(source, read_options=reading, **options) as reader:
        yield from reader


def _csv_parsing(**more: object) -> arrow_csv.ParseOptions:
    return arrow_csv.ParseOptions(newlines_in_values=True, **more)


def _csv_header(upload: Upload) -> list[str]:
    with closing(_stream(upload)) as stream:
        first = stream.readline(1 << 20)
    if not first.strip():
        raise unreadable("the file is empty: its first line must name the columns", line=1)
    try:
        text = first.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise unreadable("the first line, which must name the columns, is not UTF-8 text", line=1) from None
    try:
        return next(csv.reader([text]))
    except csv.Error:
        way_out = "save the file as CSV UTF-8 with ordinary line ends"
        raise unreadable("the first line, which must name the columns, is not CSV text", way_out, line=1) from None


def _csv_fault(upload: Upload) -> Invalid:
    """Find the row that cannot be read, slowly, and say only where it is."""
    with closing(_stream(upload)) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return unreadable(f"line {number} is not UTF-8 text", "save the file as UTF-8", line=number)
    ragged: list[int] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        if not ragged:
            ragged.append(row.number or 0)
        return "skip"

    try:
        for _ in _csv_stream(upload, parse_options=_csv_parsing(invalid_row_handler=note), use_threads=False):
            if ragged:
                break
    except pa.ArrowException:
        return unreadable("the file is not CSV text throughout; a quote may be left open")
    if not ragged:
        return unreadable("the file is not CSV text throughout")
    text = f"row {ragged[0]} (counted from the header, 1) has more or fewer fields than the header"
    return unreadable(text, "put quotes around fields that hold commas or line breaks", row=ragged[0])


def _read_parquet(upload: Upload, names: list[str]) -> tuple[Iterator[pa.RecordBatch], list[str]]:
    """Column chunks are read through a buffer: a file may be one group of rows."""
    file = pq.ParquetFile(_opened(upload), buffer_size=_COLUMN_BUFFER, pre_buffer=False)
    others = _checked_columns(file.schema_arrow, names)
    return file.iter_batches(batch_size=SLICE, columns=names), others


def _read_arrow(upload: Upload, names: list[str]) -> tuple[Iterator[pa.RecordBatch], list[str]]:
    """Mapped, so that a file of one batch is not copied into memory."""
    source = pa.memory_map(str(upload)) if isinstance(upload, Path) else pa.BufferReader(upload)
    is_file = bytes(source.read(len(ARROW_MAGIC))) == ARROW_MAGIC
    if not is_file:
        # A stream that lost its end at a message's edge reads without complaint; only its end mark tells.
        source.seek(max(source.size() - len(ARROW_END), 0), os.SEEK_SET)
        if bytes(source.read()) != ARROW_END:
            raise pa.ArrowInvalid("no end mark")
    source.seek(0)
    if is_file:
        file = pa.ipc.open_file(source)
        others = _checked_columns(file.schema, names)
        return (file.get_batch(index) for index in range(file.num_record_batches)), others
    stream = pa.ipc.open_stream(source)
    return iter(stream), _checked_columns(stream.schema, names)


def _checked_columns(schema: pa.Schema, names: list[str]) -> list[str]:
    others = other_columns(schema.names, names)
    for name in names:
        plain_type(name, schema.field(name).type)
    return others


def _opened(upload: Upload) -> pa.NativeFile:
    """Not mapped: the pages of a mapped file count as this process's memory."""
    return pa.OSFile(str(upload)) if isinstance(upload, Path) else pa.BufferReader(upload)


def _stream(upload: Upload) -> io.BufferedReader | io.BytesIO:
    return upload.open("rb") if isinstance(upload, Path) else io.BytesIO(upload)
