"""Whether an uploaded file can be read at all: CSV, Parquet or Arrow, with the declared columns; otherwise it is refused whole.

What a refusal says is the place (column, row number) and the kind of fault, never a value: the readers' own messages quote
the data.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute
from pyarrow import csv as arrow_csv

from core.errors import Invalid

Upload = bytes | Path
CODE = "ingest.unreadable"
ARROW_MAGIC = b"ARROW1"
ARROW_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Format(StrEnum):
    """The formats a version can be uploaded in."""

    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


def format_of(text: str) -> Format:
    """The format of this name. Raises Invalid (`ingest.format`)."""
    try:
        return Format(text)
    except ValueError:
        known = ", ".join(known.value for known in Format)
        raise Invalid("ingest.format", f"a file is uploaded as {known}", where={"field": "format"}) from None


def read_source(upload: Upload, form: Format, columns: Collection[str]) -> tuple[pa.Table, list[str]]:
    """The declared columns of the file, and the names of those it has beyond them.

    Raises Invalid (`ingest.unreadable`) if any part of the file cannot be read or a declared column is missing.
    """
    readers: Mapping[Format, Callable[[Upload, Collection[str]], tuple[pa.Table, list[str]]]] = {
        Format.CSV: _read_csv,
        Format.PARQUET: _read_parquet,
        Format.ARROW: _read_arrow,
    }
    try:
        table, others = readers[form](upload, columns)
        table.validate(full=True)
        plain = pa.table({name: _plain(name, table.column(name)) for name in columns})
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError):
        raise _unreadable(f"the file is not a whole {form.value} file, or was damaged on its way") from None
    return plain, others


def _unreadable(text: str, way_out: str | None = None, **where: str | int) -> Invalid:
    return Invalid(
        CODE, text, where=where, way_out=way_out or "nothing was kept of it; mend the file and send it again"
    )


def _check_columns(found: list[str], wanted: Collection[str]) -> list[str]:
    for name in wanted:
        if found.count(name) != 1:
            text = f"the file has no column {name}" if name not in found else f"the file has two columns {name}"
            raise _unreadable(text, "a file needs every declared column once, under its declared name", column=name)
    return [name for name in found if name not in wanted]


def _read_csv(upload: Upload, columns: Collection[str]) -> tuple[pa.Table, list[str]]:
    others = _check_columns(_csv_header(upload), columns)
    options = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.utf8()),
        include_columns=list(columns),
        strings_can_be_null=False,
        check_utf8=True,
    )
    try:
        return arrow_csv.read_csv(_opened(upload), convert_options=options, parse_options=_csv_parsing()), others
    except pa.ArrowException:
        raise _csv_fault(upload) from None


def _csv_parsing(**more: object) -> arrow_csv.ParseOptions:
    return arrow_csv.ParseOptions(newlines_in_values=True, **more)


def _csv_header(upload: Upload) -> list[str]:
    with _stream(upload) as stream:
        first = stream.readline(1 << 20)
    if not first.strip():
        raise _unreadable("the file is empty: its first line must name the columns", line=1)
    try:
        text = first.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable("the first line, which must name the columns, is not UTF-8 text", line=1) from None
    try:
        return next(csv.reader([text]))
    except csv.Error:
        way_out = "save the file as CSV UTF-8 with ordinary line ends"
        raise _unreadable("the first line, which must name the columns, is not CSV text", way_out, line=1) from None


def _csv_fault(upload: Upload) -> Invalid:
    """Find the row that cannot be read, slowly, and say only where it is."""
    with _stream(upload) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return _unreadable(f"line {number} is not UTF-8 text", "save the file as UTF-8", line=number)
    ragged: list[int] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row.number or 0)
        return "skip"

    try:
        one_thread = arrow_csv.ReadOptions(use_threads=False)
        arrow_csv.read_csv(
            _opened(upload), read_options=one_thread, parse_options=_csv_parsing(invalid_row_handler=note)
        )
    except pa.ArrowException:
        return _unreadable("the file is not CSV text throughout; a quote may be left open")
    if not ragged:
        return _unreadable("the file is not CSV text throughout")
    text = f"row {ragged[0]} (counted from the header, 1) has more or fewer fields than the header"
    return _unreadable(text, "put quotes around fields that hold commas or line breaks", row=ragged[0])


def _read_parquet(upload: Upload, columns: Collection[str]) -> tuple[pa.Table, list[str]]:
    file = pq.ParquetFile(_opened(upload))
    others = _check_columns(file.schema_arrow.names, columns)
    return file.read(columns=list(columns)), others


def _read_arrow(upload: Upload, columns: Collection[str]) -> tuple[pa.Table, list[str]]:
    source = _opened(upload)
    is_file = bytes(source.read(len(ARROW_MAGIC))) == ARROW_MAGIC
    if not is_file:
        # A stream that lost its end at a message's edge reads without complaint; only its end mark tells.
        source.seek(max(source.size() - len(ARROW_END), 0), os.SEEK_SET)
        if bytes(source.read()) != ARROW_END:
            raise pa.ArrowInvalid("no end mark")
    source.seek(0)
    reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
    others = _check_columns(reader.schema.names, columns)
    return reader.read_all().select(list(columns)), others


def _opened(upload: Upload) -> pa.NativeFile:
    return pa.memory_map(str(upload)) if isinstance(upload, Path) else pa.BufferReader(upload)


def _stream(upload: Upload) -> io.BufferedIOBase:
    return upload.open("rb") if isinstance(upload, Path) else io.BytesIO(upload)


def _plain(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bring a column to one of the types that cells are judged in."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if pa.types.is_null(kind):
        return column.cast(pa.utf8())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.utf8())
    if pa.types.is_temporal(kind):
        return _within_calendar(name, column)
    known = (
        pa.types.is_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal,
    )  # fmt: skip
    if any(test(kind) for test in known):
        return column
    raise _unfit(name, kind)


def _within_calendar(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates and timestamps that Python can hold, the latter in microseconds of UTC (without a zone, which would need a zone database)."""
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise _unfit(name, kind)
    try:
        if pa.types.is_timestamp(kind):
            column = column.cast(options=_micro(kind)).cast(pa.int64()).cast(pa.timestamp("us"))
        compute.min_max(column).as_py()
    except (ValueError, OverflowError):
        raise _unreadable(f"column {name} holds dates outside the years 1 to 9999", column=name) from None
    return column


def _micro(kind: pa.DataType) -> compute.CastOptions:
    """Drops what is finer than a microsecond; a moment too far away to count in them is an error."""
    return compute.CastOptions(pa.timestamp("us", tz=kind.tz), allow_time_truncate=True)


def _unfit(name: str, kind: pa.DataType) -> Invalid:
    shape = re.sub(r"[^a-z0-9]+", " ", str(kind)[:40])
    text = f"column {name} has a type that no declared column can be read from: {shape}"
    return _unreadable(text, "write it as text, number, bool, date or timestamp", column=name)
