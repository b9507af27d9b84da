"""The form of a block: Arrow types, the order of rows, and the bytes of its Parquet file, the same for the same rows."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from privacy.schema import Column, ColumnType, TableSchema

_TYPES: Mapping[ColumnType, pa.DataType] = {
    ColumnType.INT: pa.int64(),
    ColumnType.STRING: pa.utf8(),
    ColumnType.CATEGORY: pa.utf8(),
    ColumnType.BOOL: pa.bool_(),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}
DECIMAL_DIGITS = 18


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type that a declared column has in every block."""
    if column.type is ColumnType.DECIMAL:
        return pa.decimal128(DECIMAL_DIGITS, column.scale)
    return _TYPES[column.type]


def arrow_schema(schema: TableSchema) -> pa.Schema:
    """The Arrow schema of every block of a table."""
    return pa.schema([pa.field(column.name, arrow_type(column), nullable=column.nullable) for column in schema.columns])


def parquet_bytes(table: pa.Table) -> bytes:
    """The Parquet file of one block; equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        write_statistics=False,
        store_decimal_as_integer=True,
        row_group_size=1 << 20,
    )
    found: bytes = sink.getvalue().to_pybytes()
    return found


def csv_bytes(table: pa.Table) -> bytes:
    """The table as CSV text with a header, nulls empty."""
    from pyarrow import csv  # noqa: PLC0415 - 30 ms that only a download of mock data needs

    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    found: bytes = sink.getvalue().to_pybytes()
    return found
