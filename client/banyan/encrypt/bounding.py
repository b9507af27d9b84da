"""What leaves a provider's house, before encryption: totals by group to which no privacy unit gave more than the terms allow.

Each unit's part is a function of its own rows only (docs/proofs/encrypted.md): the unit's total in a group is clamped, never a row of it,
since many small rows would pass a bound of rows. Totals are exact whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from banyan.encrypt import exact_sums
from banyan.encrypt.exact_sums import Integers
from banyan.encrypt.moments import moments
from banyan.encrypt.rows import Part, Rows
from banyan.encrypt.terms import GRAM, SQUARE, SUM, UNITS, Terms
from banyan.errors import Refused

# A version may hold this many times the units it declares (privacy.schema.EXCESS): plans are made for no more.
EXCESS = 2
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Bounds:
    """The vectors to encrypt, by name, and what the bounds cut off: for the provider only.

    clamped          by totalled column, units' totals in a group that were moved to the nearer bound
    groups_left_out  pairs of unit and group beyond a unit's `max_groups`
    """

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
    found = Bounds(
        {vector.name: [0] * vector.length for vector in terms.vectors}, {total.column: 0 for total in terms.totals}, 0
    )
    for part in rows.parts:
        found = _added(found, _of_part(part, terms))
    return found


def _added(one: Bounds, other: Bounds) -> Bounds:
    vectors = {
        name: [first + second for first, second in zip(values, other.vectors[name], strict=True)]
        for name, values in one.vectors.items()
    }
    clamped = {name: count + other.clamped[name] for name, count in one.clamped.items()}
    return Bounds(vectors, clamped, one.groups_left_out + other.groups_left_out)


def _of_part(part: Part, terms: Terms) -> Bounds:
    count = len(terms.groups)
    pair = part.unit.astype(np.int64) * count + part.group
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]])
    unit, group = np.divmod(pair[starts], count)
    keep = _kept(unit, group, part.names, terms)
    inside = group[keep]
    vectors = {UNITS: np.bincount(inside, minlength=count).tolist()}
    clamped, totals = {}, {}
    for total in terms.totals:
        found = exact_sums.saturated(*exact_sums.runs(part.columns[total.column][order], starts))[keep]
        within = totals[total.column] = np.clip(found, total.lower, total.upper)
        clamped[total.column] = int((found != within).sum())
        vectors[SUM + total.column] = exact_sums.by_place(within, inside, count)
    for name in terms.squares:
        away = totals[name] - terms.total(name).centre
        vectors[SQUARE + name] = exact_sums.squares_by_place(away, inside, count)
    if terms.least_squares is not None:
        first_of_unit = starts[np.flatnonzero(np.r_[True, unit[1:] != unit[:-1]])]
        vectors[GRAM] = moments(part.columns, order, first_of_unit, terms.least_squares)
    return Bounds(vectors, clamped, int((~keep).sum()))


def _kept(unit: Integers, group: Integers, names: pa.Array, terms: Terms) -> npt.NDArray[np.bool_]:
    """Which pairs of unit and group count: all of a unit with at most `max_groups` groups, else exactly so many.

    The choice is by a hash of the texts of unit and group, never by their numbers, which would hang on other units (design R1).
    """
    sizes = np.bincount(unit)
    crowded = np.flatnonzero(sizes[unit] > terms.max_groups)
    keep = np.ones(len(unit), np.bool_)
    if not len(crowded):
        return keep
    texts = names.take(pa.array(unit[crowded])).to_pylist()
    labels = [label.encode() for label in terms.groups]
    digests = [_hash(text.encode(), labels[at]) for text, at in zip(texts, group[crowded].tolist(), strict=True)]
    words = np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, 2)
    owner = unit[crowded]
    ranked = np.lexsort((words[:, 1], words[:, 0], owner))
    # The pairs of a unit stand together in `ranked`: a pair's rank is its distance from the first of them.
    _, first, pairs = np.unique(owner[ranked], return_index=True, return_counts=True)
    rank = np.arange(len(ranked)) - np.repeat(first, pairs)
    keep[crowded[ranked[rank >= terms.max_groups]]] = False
    return keep


def _hash(unit: bytes, group: bytes) -> bytes:
    return blake2b(len(unit).to_bytes(8, "big") + unit + group, digest_size=_DIGEST_BYTES).digest()
