"""What all partials of a query add up to: sums over sheaves and united distinct values, the same in any order.

Sums are kept as two limbs (value = high * 2^31 + low, 0 <= low < 2^31), so that no number of hostile values can wrap 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.sql.partial_bytes import LARGEST, RECORD_BYTES, Reader, SetPart, Shape

_LIMB = 31
_LOW = 2**_LIMB - 1
_FEW_RECORDS = 1 << 16
_RECORD = np.dtype([("group", "<u4"), ("hash", "V16")])

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class SetTotals:
    """The bounded totals of one grouping set: not noised, never to leave the gate.

    keys    canonical bytes of the groups, increasing
    values  int64 of shape (groups, columns), each within ±(2^62 - 1); the columns of the plan's measures in their order, one for a
            distinct measure: how many values its groups hold
    """

    keys: tuple[bytes, ...] = field(repr=False)
    values: Integers = field(repr=False)


@dataclass(frozen=True)
class Totals:
    """The totals of all grouping sets, in the order of the plan."""

    sets: tuple[SetTotals, ...] = field(repr=False)


def combine(partials: Iterable[bytes], shape: Shape) -> Totals:
    """The totals of these partials; each sum is clamped to ±(2^62 - 1), which is 1-Lipschitz and never bites an honest one (R3).

    Raises ValueError where a partial is not one of this shape: `partial_bytes` has refused those before.
    """
    reader = Reader(shape)
    merging = [_Merging(shape) for _ in shape.sets]
    for data in partials:
        for found, part in zip(merging, reader.parse(data), strict=True):
            found.add(part)
    return Totals(tuple(found.totals() for found in merging))


class _Merging:
    """One grouping set's sums so far."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._width = len(shape.lowest)
        self._rows: dict[bytes, int] = {}
        self._high: Integers = np.zeros((self._width, 0), np.int64)
        self._low: Integers = np.zeros((self._width, 0), np.int64)
        self._distinct = [_Distinct() for _ in range(shape.distinct)]

    def add(self, part: SetPart) -> None:
        known = self._rows
        rows = np.fromiter((known.setdefault(key, len(known)) for key in part.keys), np.int64, len(part.keys))
        self._make_room(len(known))
        # A key stands once in a partial, so each cell is named once.
        values = np.frombuffer(part.columns, "<i8").reshape(self._width, len(part.keys))
        self._high[:, rows] += values >> _LIMB
        self._low[:, rows] += values & _LOW
        self._high += self._low >> _LIMB
        self._low &= _LOW
        for found, records in zip(self._distinct, part.records, strict=True):
            found.add(records, rows)

    def _make_room(self, groups: int) -> None:
        if groups > self._high.shape[1]:
            more = ((0, 0), (0, max(groups, 2 * self._high.shape[1]) - self._high.shape[1]))
            self._high, self._low = np.pad(self._high, more), np.pad(self._low, more)

    def totals(self) -> SetTotals:
        keys = sorted(self._rows)
        order = np.fromiter((self._rows[key] for key in keys), np.int64, len(keys))
        high, low = self._high[:, order], self._low[:, order]
        fits = (high >= -(2**_LIMB)) & (high < 2**_LIMB)
        sums = np.where(fits, (np.where(fits, high, 0) << _LIMB) + low, np.where(high < 0, -LARGEST, LARGEST))
        sums = np.clip(sums, -LARGEST, LARGEST)
        counts = [found.counts(len(keys))[order] for found in self._distinct]
        columns, at = [], 0
        for kind, width in self._shape.measures:
            columns += [counts.pop(0)] if kind == "distinct" else list(sums[at : at + width])
            at += width
        return SetTotals(tuple(keys), np.array(columns, np.int64).reshape(len(columns), len(keys)).T.copy())


class _Distinct:
    """The united (group, hash) pairs of one distinct measure, as rows of (group, 8 bytes, 8 bytes)."""

    def __init__(self) -> None:
        self._united: NDArray[np.uint64] = np.zeros((0, 3), np.uint64)
        self._waiting: list[NDArray[np.uint64]] = []

    def add(self, records: bytes, rows: Integers) -> None:
        found = np.frombuffer(records, _RECORD, len(records) // RECORD_BYTES)
        words = np.frombuffer(found["hash"].tobytes(), np.uint64).reshape(len(found), 2)
        groups = rows[found["group"]].astype(np.uint64)
        self._waiting.append(np.column_stack([groups, words]))
        if sum(map(len, self._waiting)) > max(_FEW_RECORDS, 2 * len(self._united)):
            self._unite()

    def counts(self, groups: int) -> Integers:
        self._unite()
        return np.bincount(self._united[:, 0].astype(np.int64), minlength=groups)

    def _unite(self) -> None:
        pairs = np.concatenate([self._united, *self._waiting])
        pairs = pairs[np.lexsort(pairs.T)]
        kept = np.ones(len(pairs), bool)
        kept[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        self._united, self._waiting = pairs[kept], []
