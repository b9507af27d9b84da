"""What a file is that a version can be made from: its formats, its columns, and the few types that cells are judged in.

What a refusal says is the place (column, row number) and the kind of fault, never a value: the readers' own messages quote
the data.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
from pyarrow import compute

from core.errors import Invalid

Upload = bytes | Path
CODE = "ingest.unreadable"


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


def unreadable(text: str, way_out: str | None = None, **where: str | int) -> Invalid:
    """The refusal of a file of which some part cannot be read: it is refused whole."""
    return Invalid(
        CODE, text, where=where, way_out=way_out or "nothing was kept of it; mend the file and send it again"
    )


def other_columns(found: list[str], wanted: Collection[str]) -> list[str]:
    """The columns of a file beyond the declared ones. Raises Invalid unless each declared one is there once."""
    for name in wanted:
        if found.count(name) != 1:
            text = f"the file has no column {name}" if name not in found else f"the file has two columns {name}"
            raise unreadable(text, "a file needs every declared column once, under its declared name", column=name)
    return [name for name in found if name not in wanted]


def plain_type(name: str, kind: pa.DataType) -> pa.DataType:
    """The type in which cells of this Arrow type are judged. Raises Invalid for one that no declared column can be read from."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.utf8()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    known = (
        pa.types.is_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal,
    )  # fmt: skip
    if any(test(kind) for test in known):
        return kind
    shape = re.sub(r"[^a-z0-9]+", " ", str(kind)[:40])
    text = f"column {name} has a type that no declared column can be read from: {shape}"
    raise unreadable(text, "write it as text, number, bool, date or timestamp", column=name)


def plain(name: str, cells: pa.Array) -> pa.Array:
    """The cells in their plain type: moments in microseconds of UTC, without a zone, which would need a zone database.

    Raises Invalid for dates that Python cannot hold.
    """
    kind = plain_type(name, cells.type)
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if not pa.types.is_temporal(kind):
        return cells.cast(kind)
    try:
        if pa.types.is_timestamp(kind):
            cells = cells.cast(options=_micro(cells.type)).cast(pa.int64())
        cells = cells.cast(kind)
        compute.min_max(cells).as_py()
    except (ValueError, OverflowError):
        raise unreadable(f"column {name} holds dates outside the years 1 to 9999", column=name) from None
    return cells


def _micro(kind: pa.DataType) -> compute.CastOptions:
    """Drops what is finer than a microsecond; a moment too far away to count in them is an error."""
    return compute.CastOptions(pa.timestamp("us", tz=kind.tz), allow_time_truncate=True)
