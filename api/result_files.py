"""A released table as a file: one flat table, each value with its standard error and interval beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PARTS = {"value": "", "standard_error": "_standard_error", "low": "_low", "high": "_high"}
KEYS = {"int": pa.int64(), "bool": pa.bool_()}  # dates, decimals and texts are shown as text
# A released table writes whole numbers without a point, and as text where JSON would not hold them exactly.
CELLS: Mapping[pa.DataType, Callable[[Any], Any]] = {
    pa.int64(): lambda cell: int(cell) if isinstance(cell, str) else cell,
    pa.float64(): lambda cell: None if cell is None else float(cell),  # a median has no interval
    pa.bool_(): lambda cell: cell,
    pa.string(): lambda cell: cell,
}


def _flat(result: dict[str, Any]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for column in result["columns"]:
        name, rows = column["name"], result["rows"]
        if column["role"] == "key":
            columns[name] = [row[name] for row in rows]
        else:
            for part, suffix in PARTS.items():
                columns[name + suffix] = [row[name][part] for row in rows]
    return columns


def as_csv(result: dict[str, Any]) -> str:
    """CSV with a header; text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    columns, sink = _flat(result), io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in zip(*columns.values(), strict=True))
    return sink.getvalue()


def _harmless(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def as_parquet(result: dict[str, Any]) -> bytes:
    """Parquet; guarantee and notes are in the file's metadata under `banyan`. The types follow from the plan, whatever the figures."""
    told = {name: result[name] for name in ("job", "mode", "guarantee", "notes", "receipt", "reused")}
    types = _types(result)
    arrays = [pa.array(map(CELLS[types[name]], cells), types[name]) for name, cells in _flat(result).items()]
    fields = [pa.field(name, kind) for name, kind in types.items()]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata={"banyan": json.dumps(told)}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def _types(result: dict[str, Any]) -> dict[str, pa.DataType]:
    found: dict[str, pa.DataType] = {}
    for column in result["columns"]:
        name, kind = column["name"], column["type"]
        if column["role"] == "key":
            found[name] = KEYS.get(kind, pa.string())
        else:
            figure = pa.int64() if kind == "int" else pa.float64()
            found |= {
                name + suffix: pa.float64() if part == "standard_error" else figure for part, suffix in PARTS.items()
            }
    return found
