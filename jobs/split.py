"""Which program block a row lies in: by its unit alone, so that one unit changes one block (docs/proofs/programs.md, design R11).

A version has B stored blocks, placed by the population's key. A program runs on k blocks: where k is a multiple of B, each stored
block is split by a keyed hash of the unit; where k divides B, stored blocks are put together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq


def lane_of(block: int, blocks: int, stored_blocks: int, lanes: int) -> int:
    """The lane of a stored or a program block: all that is split from one, or put together to one, goes to one lane."""
    return block % min(blocks, stored_blocks) % lanes


def program_indexes(stored: int, blocks: int, stored_blocks: int) -> list[int]:
    """The program blocks that a stored block's rows go to."""
    if blocks < stored_blocks:
        return [stored % blocks]
    return list(range(stored, blocks, stored_blocks))


def blocks_in_lane(lane: int, blocks: int, stored_blocks: int, lanes: int) -> list[int]:
    """All program blocks of a lane, in the order in which it runs them."""
    return [block for block in range(blocks) if lane_of(block, blocks, stored_blocks, lanes) == lane]


def read_block(data: bytes) -> pa.Table:
    """The rows of a stored block, without dictionaries: those would carry values from one part to another."""
    return pq.read_table(pa.BufferReader(data), use_threads=False).combine_chunks()


def split(table: pa.Table, unit: str, parts: int, seed: bytes) -> Iterator[pa.Table]:
    """The rows of part 0, 1, .. `parts` - 1, each in the order in which they lay; `seed` keys the hash of the unit."""
    if parts == 1:
        yield table
        return
    of_row = _part_of_rows(table.column(unit), parts, seed)
    order = np.argsort(of_row, kind="stable")
    ends = np.searchsorted(of_row[order], np.arange(parts + 1))
    for part in range(parts):
        # `take` copies: a slice would carry its neighbours' bytes along in its buffers.
        yield table.take(pa.array(order[ends[part] : ends[part + 1]]))


def part_of(unit: str, parts: int, seed: bytes) -> int:
    """The part of a unit: a function of it and of the seed, which is fixed before touch and which no researcher knows."""
    return int.from_bytes(blake2b(unit.encode(), key=seed, digest_size=16).digest(), "big") % parts


def _part_of_rows(units: pa.ChunkedArray, parts: int, seed: bytes) -> npt.NDArray[np.int64]:
    coded = units.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks() if coded.num_chunks != 1 else coded.chunk(0)
    of_unit = np.array([part_of(str(unit), parts, seed) for unit in coded.dictionary.to_pylist()], dtype=np.int64)
    codes = coded.indices.to_numpy(zero_copy_only=False)
    return of_unit[codes] if len(of_unit) else np.zeros(0, dtype=np.int64)


def merged(found: Mapping[int, pa.Table], stored: list[int]) -> pa.Table | None:
    """The stored blocks `stored` as one; None where one of them is missing, since a part would not be the block."""
    if any(index not in found for index in stored):
        return None
    return pa.concat_tables([found[index] for index in stored]).combine_chunks()


def ipc_bytes(table: pa.Table) -> bytes:
    """The Arrow file that a block's process reads: uncompressed, one batch, no metadata of ours."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None))
    written: bytes = sink.getvalue().to_pybytes()
    return written
