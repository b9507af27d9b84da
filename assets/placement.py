"""Which block a row lies in: a unit's rows lie in one, by a keyed hash of the unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.block_rows import in_order
from assets.keyed_hash import keyed_hashes


def blocks_of(units: Sequence[bytes], key: bytes, block_count: int) -> npt.NDArray[np.uint16]:
    """The block of each unit: a function of the unit and the population's key only, never of rank or size (proof_obligations.md I5)."""
    return (keyed_hashes(units, key) % np.uint64(block_count)).astype(np.uint16)


def by_block(rows: pa.RecordBatch, unit: str, key: bytes, block_count: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each block of which there are any, with its index. `unit` names the column."""
    encoded = rows.column(unit).dictionary_encode()
    of_unit = blocks_of(encoded.dictionary.cast(pa.binary()).to_pylist(), key, block_count)
    blocks = of_unit[encoded.indices.to_numpy()]
    order = np.argsort(blocks, kind="stable")
    rows = rows.take(pa.array(order))
    ends = np.cumsum(np.bincount(blocks, minlength=block_count)).tolist()
    for index, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if start < end:
            yield index, rows.slice(start, end - start)


def placed(rows: pa.Table, unit: str, key: bytes, block_count: int) -> Iterator[pa.Table]:
    """The table of each block in turn, for rows that are in memory already."""
    parts: list[list[pa.RecordBatch]] = [[] for _ in range(block_count)]
    for batch in rows.to_batches():
        for index, part in by_block(batch, unit, key, block_count):
            parts[index].append(part)
    for part in parts:
        yield in_order(pa.Table.from_batches(part, rows.schema), unit)
