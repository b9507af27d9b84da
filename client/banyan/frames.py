"""A table as a data frame: the same in a block of a job as on the researcher's machine, and nothing else of `banyan` is needed.

Numbers are numbers: decimals become float64, and so do integers that may be missing (NaN) in pandas. The types follow from the
declared schema alone, never from the values, so that every block of a table has the same.
"""

from __future__ import annotations

import importlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def to_pandas(table: pa.Table) -> Any:
    """The table as a pandas.DataFrame.

    integer (never missing) int64; integer (may be missing), decimal float64; text object (str, None); boolean bool, or object
    where it may be missing; date datetime64; timestamp datetime64 in UTC.
    """
    importlib.import_module("pandas")
    numbers = _as_numbers(table, missing_as_nan=True)
    frame = numbers.to_pandas(use_threads=False, date_as_object=False, types_mapper=None)
    for name in [field.name for field in table.schema if _is_text(field.type)]:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame


def to_polars(table: pa.Table) -> Any:
    """The table as a polars.DataFrame: as Arrow has it, with decimals as Float64 and what is missing as null."""
    polars = importlib.import_module("polars")
    return polars.from_arrow(_as_numbers(table, missing_as_nan=False))


def _as_numbers(table: pa.Table, *, missing_as_nan: bool) -> pa.Table:
    columns, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        is_number = pa.types.is_decimal(field.type) or (
            missing_as_nan and field.nullable and pa.types.is_integer(field.type)
        )
        columns.append(pc.cast(column, pa.float64()) if is_number else column)
        fields.append(pa.field(field.name, pa.float64(), field.nullable) if is_number else field)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
