"""What leaves a provider's house, before encryption: totals by group to which no privacy unit gave more than the terms allow.

Each unit's part is a function of its own rows only (docs/proofs/encrypted.md). Totals are exact integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from banyan.encrypt.rows import Integers, Rows
from banyan.encrypt.terms import (
    GRAM,
    GRAM_BITS,
    SQUARE,
    SUM,
    UNITS,
    Bounded,
    LeastSquares,
    Terms,
    gram_norm,
)
from banyan.errors import Refused

# A version may hold this many times the units it declares (privacy.schema.EXCESS): plans are made for no more.
EXCESS = 2
SAFE = 2**62
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """The vectors to encrypt, by name, and what the bounds cut off: for the provider only."""

    vectors: dict[str, list[int]]
    clamped: dict[str, int]
    groups_left_out: int


def bounded(rows: Rows, terms: Terms) -> Bounds:
    """The vectors of the terms. Raises Refused (`data.too_many_units`)."""
    if rows.units > EXCESS * terms.units:
        raise Refused(
            "data.too_many_units",
            f"there are more than {EXCESS} times the {terms.units:,} units that the terms declare",
            way_out="a declaration with a truer number of units",
        )
    count = len(terms.groups)
    pairs, place = np.unique(rows.unit * count + rows.group, return_inverse=True)
    unit, group = pairs // count, pairs % count
    keep = _kept(unit, group, rows.names, terms)
    vectors = {UNITS: np.bincount(group[keep], minlength=count).tolist()}
    clamped, totals = {}, {}
    for total in terms.totals:
        found = _totals(rows.columns[total.column], place, len(pairs))
        inside = np.clip(found, total.lower, total.upper)
        clamped[total.column] = int(((found != inside) & keep).sum())
        totals[total.column] = inside.astype(object)
        vectors[SUM + total.column] = _by_group(totals[total.column][keep], group[keep], count)
    for name in terms.squares:
        away = totals[name][keep] - terms.total(name).centre
        vectors[SQUARE + name] = _by_group(away * away, group[keep], count)
    if terms.least_squares is not None:
        vectors[GRAM] = _moments(rows, terms.least_squares)
    return Bounds(vectors, clamped, int((~keep).sum()))


def _totals(column: Integers, place: Integers, pairs: int) -> npt.NDArray[np.object_] | Integers:
    """The exact total of each pair of unit and group."""
    most = int(np.abs(column).max(initial=0))
    safe = most * int(np.bincount(place, minlength=pairs).max(initial=0)) < SAFE
    found: npt.NDArray[np.object_] | Integers = np.zeros(pairs, np.int64 if safe else object)
    np.add.at(found, place, column if safe else column.astype(object))
    return found


def _by_group(values: npt.NDArray[np.object_], group: Integers, count: int) -> list[int]:
    found = np.zeros(count, object)
    np.add.at(found, group, values)
    return [int(value) for value in found]


def _kept(unit: Integers, group: Integers, names: Sequence[str], terms: Terms) -> npt.NDArray[np.bool_]:
    """Which pairs count: all of a unit with at most `max_groups` groups, else exactly so many.

    The choice is by a hash of the texts of unit and group, never by their numbers, which would hang on other units (design R1).
    """
    keep = np.ones(len(unit), np.bool_)
    starts = np.flatnonzero(np.r_[True, unit[1:] != unit[:-1]])
    sizes = np.diff(np.r_[starts, len(unit)])
    for start, size in zip(starts[sizes > terms.max_groups], sizes[sizes > terms.max_groups], strict=True):
        places = range(int(start), int(start + size))
        order = sorted(places, key=lambda at: _order(names[int(unit[at])], terms.groups[group[at]]))
        keep[order[terms.max_groups :]] = False
    return keep


def _order(unit: str, group: str) -> bytes:
    said = unit.encode()
    return blake2b(len(said).to_bytes(8, "big") + said + group.encode(), digest_size=16).digest()


def _moments(rows: Rows, regression: LeastSquares) -> list[int]:
    """The sum of the units' rounded matrices, of which each is within the norm that the terms promise."""
    size = regression.size
    weights = [np.ones(rows.units)]
    weights += [_normal(rows, column) for column in (*regression.features, regression.target)]
    scaled = np.stack(weights) / math.sqrt(size)
    upper = np.triu_indices(size)
    parts = np.rint(scaled[upper[0]] * scaled[upper[1]] * 2**GRAM_BITS).astype(np.int64)
    norms = (parts.astype(object) ** 2).sum(axis=0)
    if int(max(norms, default=0)) > gram_norm(size) ** 2:
        raise RuntimeError("a unit's part is larger than its bound")
    return [int(total) for total in parts.sum(axis=1)]


def _normal(rows: Rows, column: Bounded) -> Floats:
    """Each unit's mean over its rows, mapped by the declared bounds to [-1, 1] and clamped there."""
    values = np.clip(rows.columns[column.column], column.lower, column.upper).astype(np.float64)
    sums = np.bincount(rows.unit, values, minlength=rows.units)
    counts = np.bincount(rows.unit, minlength=rows.units)
    half, middle = (column.upper - column.lower) / 2, (column.upper + column.lower) / 2
    return np.clip((sums / counts - middle) / half, -1.0, 1.0)
