"""Whether zeros behind a column's last decimal may be dropped: where every number of the column is written with equally many decimals.

`1.250` is one and a quarter in a column of three decimals. Where other cells have none, its point may be one of thousands, and nobody
would notice that a sum is a thousand times too small.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from banyan.encrypt.cells import Integers


class Decimals:
    """The numbers of decimals in what was read of a column so far. `first` is the row (from 1) of the first cell beyond the scale."""

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self._least: int | None = None
        self._most = 0
        self.first: int | None = None

    def take(self, column: pa.Array, rows: Integers) -> bool:
        """Whether the column may go on with these cells, which are numbers, of the rows with these numbers."""
        if len(column):
            counts = _counts(column)
            least = int(counts.min())
            self._least = least if self._least is None else min(self._least, least)
            self._most = max(self._most, int(counts.max()))
            beyond = np.flatnonzero(counts > self._scale)
            if self.first is None and len(beyond):
                self.first = int(rows[beyond[0]])
        return self.first is None or self._least == self._most

    def why(self) -> str:
        """What is said of the first cell."""
        behind = f"more than {self._scale} decimals" if self._scale else "zeros behind a point"
        return f"has {behind}, and other cells of the column have fewer decimals: its point may be one of thousands"

    def way_out(self) -> str:
        """What would pass."""
        few = f"at most {self._scale} decimals" if self._scale else "whole numbers"
        return f"{few} and no mark between thousands, or equally many decimals in every cell of the column"


def _counts(column: pa.Array) -> Integers:
    """How many digits each number has behind its point."""
    trimmed = pc.ascii_trim(column, characters=" \t")
    if pc.any(pc.match_substring_regex(trimmed, "[eE]")).as_py():
        coded = trimmed.dictionary_encode()
        known = np.array([max(0, -int(Decimal(text).as_tuple().exponent)) for text in coded.dictionary.to_pylist()])
        found: Integers = known[np.asarray(coded.indices)]
        return found
    point = np.asarray(pc.find_substring(trimmed, "."))
    length = np.asarray(pc.binary_length(trimmed))
    return np.where(point < 0, 0, length - point - 1).astype(np.int64)
