"""In which order the rows of a block lie, and which units they are of.

The order of rows in the file does not matter: equal multisets of rows give equal blocks.
"""

from __future__ import annotations

import pyarrow as pa
from pyarrow import compute


def in_order(rows: pa.Table, unit: str) -> pa.Table:
    """The rows by unit, then by the other columns as declared: texts by their bytes, nulls last. In one chunk."""
    names = [unit, *(name for name in rows.column_names if name != unit)]
    order = compute.sort_indices(rows, sort_keys=[(name, "ascending", "at_end") for name in names])
    return rows.take(order).combine_chunks()


def units_of(rows: pa.Table, unit: str) -> list[bytes]:
    """Each unit of these rows once."""
    found: list[bytes] = compute.unique(rows.column(unit)).cast(pa.binary()).to_pylist()
    return found
