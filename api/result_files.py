"""A released table as a file: one flat table, each value with its standard error and interval beside it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PARTS = {"value": "", "standard_error": "_standard_error", "low": "_low", "high": "_high"}


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
    """Parquet; guarantee and notes are in the file's metadata under `banyan`."""
    told = {name: result[name] for name in ("job", "mode", "guarantee", "notes", "receipt")}
    table = pa.table(_flat(result)).replace_schema_metadata({"banyan": json.dumps(told)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())
