"""Which block a row lies in, and where in it: whole units, placed by a keyed hash, sorted by unit and then by every column.

The order of rows in the file does not matter: equal multisets of rows give equal blocks.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.accept import Accepted

Rows = npt.NDArray[np.int64]


def block_of(unit: bytes, key: bytes, block_count: int) -> int:
    """The block of a unit: a function of the unit and the population's key only, never of rank or size (proof_obligations.md I5)."""
    return int.from_bytes(hmac.digest(key, unit, hashlib.sha256)[:8], "big") % block_count


def placed(accepted: Accepted, key: bytes, block_count: int) -> Iterator[pa.Table]:
    """The table of each block in turn."""
    unit = accepted.unit
    of_unit = np.array([block_of(str(value).encode(), key, block_count) for value in unit.values], dtype=np.int64)
    blocks = of_unit[unit.codes]
    order = _order(accepted)
    blocks = blocks[order]
    for index in range(block_count):
        yield accepted.table(order[blocks == index])


def _order(accepted: Accepted) -> Rows:
    """Rows by unit, then by the other columns as declared. Codes are ranks, so they sort as the values do."""
    others = [coded for coded in accepted.columns if coded is not accepted.unit]
    keys: list[npt.NDArray[Any]] = []
    room = 1
    for coded in (accepted.unit, *others):
        size = len(coded.values) + 1
        # Several columns share one 62-bit key while they fit: fewer keys sort faster.
        if keys and room * size < 2**62:
            keys[-1] = keys[-1] * size + coded.codes
            room *= size
        else:
            keys.append(coded.codes.astype(np.int64))
            room = size
    return np.lexsort(keys[::-1])
