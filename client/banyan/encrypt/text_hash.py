"""Sixty-four bits for a row of texts, a batch at a time: the same for the same texts, and by chance only for others. For use in one run.

A byte counts with a random number of its place. Two rows meet with less than 2^-56; nothing that is encrypted hangs on it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Hashes = npt.NDArray[np.uint64]
_SEPARATOR, _NOTHING = "\x1f", "\x1e"
_PIECE = 1 << 15


class TextHash:
    """See the module."""

    def __init__(self) -> None:
        self._weights = np.zeros(0, np.uint64)

    def of(self, columns: Sequence[pa.Array]) -> Hashes:
        """The hash of each row; the columns are texts."""
        # The empty text at the end gives every row a last byte, a separator, so that rows of different lengths differ there.
        joined = pc.binary_join_element_wise(
            *columns, pa.scalar(""), _SEPARATOR, null_handling="replace", null_replacement=_NOTHING
        ).cast(pa.large_binary())
        pieces = [self._of_joined(joined.slice(start, _PIECE)) for start in range(0, len(joined), _PIECE)]
        return np.concatenate([np.zeros(0, np.uint64), *pieces])

    def _of_joined(self, rows: pa.LargeBinaryArray) -> Hashes:
        _, offsets, content = rows.buffers()
        ends = np.frombuffer(offsets, np.int64)[rows.offset : rows.offset + len(rows) + 1]
        starts, sizes = ends[:-1] - ends[0], np.diff(ends)
        letters = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]].astype(np.uint64)
        self._grow(int(sizes.max()))
        letters *= self._weights[np.arange(len(letters)) - np.repeat(starts, sizes)]
        found: Hashes = np.add.reduceat(letters, starts)
        return found

    def _grow(self, longest: int) -> None:
        if longest > len(self._weights):
            fresh = np.frombuffer(secrets.token_bytes(8 * (longest - len(self._weights))), np.uint64)
            self._weights = np.concatenate([self._weights, fresh])


class Repeats:
    """How many rows repeat another one in every cell: a careless join doubles a unit's totals, and only the provider can know."""

    def __init__(self) -> None:
        self._hash, self._seen = TextHash(), [np.zeros(0, np.uint64)]

    def take(self, columns: Sequence[pa.Array]) -> None:
        """Take in a batch of rows, all of whose columns are texts."""
        self._seen.append(self._hash.of(columns))

    def count(self) -> int:
        """Rows that are there already, exactly so. Forgets them."""
        found = np.concatenate(self._seen)
        self._seen = [np.zeros(0, np.uint64)]
        found.sort()
        return int((found[1:] == found[:-1]).sum())
