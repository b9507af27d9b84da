"""What leaves the totals: the plan's own noise, drawn once on exactly the planned cells, or on the keys that a threshold let pass.

Everything after this module is post-processing. Proof: docs/proofs/query.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.mechanisms import Noise
from privacy.sql.facts import WHOLE, Facts
from privacy.sql.held import Held, Kind
from privacy.sql.ordering import comparable
from privacy.sql.query_plan import MAX_TOTAL, VALUE_HEAD, QueryPlan, SetPlan, Vector
from privacy.sql.row_columns import key_bytes
from privacy.sql.totals import SetTotals, Totals
from privacy.thresholds import KeyThreshold

Integers = NDArray[np.int64]
Keys = tuple[Held, ...]


class NoiseSource(Protocol):
    """Where noise comes from. Production has one: `DrawnNoise`; tests of exactness put their own in its place."""

    def draw(self, noise: Noise, values: list[int]) -> list[int]:
        """The values with noise, in their order."""
        ...

    def select(self, threshold: KeyThreshold, units: Mapping[bytes, int]) -> dict[bytes, int]:
        """The keys that may be shown, with their noisy numbers of units."""
        ...


class DrawnNoise:
    """Fresh noise from OpenDP's measurements."""

    def draw(self, noise: Noise, values: list[int]) -> list[int]:
        """The values with fresh noise."""
        return noise.draw(values)

    def select(self, threshold: KeyThreshold, units: Mapping[bytes, int]) -> dict[bytes, int]:
        """The keys whose noisy number of units passes."""
        return threshold.select(units)


@dataclass(frozen=True)
class NoisySet:
    """One grouping set of the noisy table.

    Attributes:
        keys: held values of all keys of the query, NULL for those that are not of this set; row by row in the order shown.
        vectors: for each vector of the plan its noisy numbers, int64 of shape (rows, numbers), still weighed; None: not released.
        noises: the noise that was put on them, that of the threshold's counts among them.
    """

    keys: tuple[Keys, ...]
    vectors: tuple[Integers | None, ...] = field(repr=False)
    noises: tuple[Noise | None, ...]


@dataclass(frozen=True)
class NoisyTable:
    """All grouping sets, in the order of the plan."""

    sets: tuple[NoisySet, ...]


def noised(totals: Totals, plan: QueryPlan, source: NoiseSource | None = None) -> NoisyTable:
    """Draws all noise of the plan once. Calling it again draws again: the caller persists what is made of it."""
    drawn = DrawnNoise() if source is None else source
    pairs = zip(plan.sets, totals.sets, strict=True)
    return NoisyTable(tuple(_noisy_set(each, found, plan, drawn) for each, found in pairs))


def _noisy_set(planned: SetPlan, totals: SetTotals, plan: QueryPlan, source: NoiseSource) -> NoisySet:
    facts = [plan.post.columns[at] for at in planned.keys]
    starts = _starts(plan)
    passed: Integers | None = None
    if planned.domain is not None:
        keys = list(planned.domain)
        names = [b"".join(map(key_bytes, row, facts)) for row in keys]
    else:
        keys, names, passed = _selected(planned, totals, plan, source)
    exact = _exact(totals, names)
    vectors: list[Integers | None] = []
    noises = list(planned.noises)
    for at, vector in enumerate(plan.vectors):
        noise = planned.noises[at]
        if noise is not None:
            numbers = _numbers(exact, vector, plan, starts)
            noisy = source.draw(noise, numbers.ravel().tolist())
            vectors.append(np.array(noisy, np.int64).reshape(numbers.shape))
        elif passed is not None and planned.threshold is not None and vector.measures == (plan.units,):
            vectors.append(passed[:, None])
            noises[at] = planned.threshold.noise
        else:
            vectors.append(None)
    places = {key: at for at, key in enumerate(planned.keys)}
    shown = [tuple(row[places[at]] if at in places else None for at in range(len(plan.keys))) for row in keys]
    return NoisySet(tuple(shown), tuple(vectors), tuple(noises))


def _selected(
    planned: SetPlan, totals: SetTotals, plan: QueryPlan, source: NoiseSource
) -> tuple[list[Keys], list[bytes], Integers]:
    """The keys that pass, sorted by their values, NULL last; their bytes; and their noisy units.

    A key that the declaration does not admit can come from no honest partial: it counts as absent, which looks at the key alone.
    """
    if planned.threshold is None or plan.units is None:
        raise ValueError("keys that are not public pass a threshold")
    facts = [plan.post.columns[at] for at in planned.keys]
    units = totals.values[:, _starts(plan)[plan.units]].tolist()
    held = {name: row for name in totals.keys if (row := _held_key(name, facts)) is not None}
    counted = {name: count for name, count in zip(totals.keys, units, strict=True) if name in held}
    passed = source.select(planned.threshold, counted)
    names = sorted(passed, key=lambda name: _order(held[name]))
    return [held[name] for name in names], names, np.array([passed[name] for name in names], np.int64)


def _order(row: Keys) -> list[tuple[bool, Any]]:
    return [(value is None, 0 if value is None else comparable(value)) for value in row]


def _held_key(name: bytes, facts: Sequence[Facts]) -> Keys | None:
    """The values of a group's canonical bytes, which `partial_bytes` has accepted; None where the declaration admits no such key."""
    row: list[Held] = []
    at = 0
    for known in facts:
        if name[at] == 0:
            row.append(None)
            at += 1
            continue
        end = at + VALUE_HEAD + int.from_bytes(name[at + 1 : at + VALUE_HEAD], "big")
        row.append(_held_value(name[at + VALUE_HEAD : end], known))
        at = end
    return tuple(row) if all(map(_admits, facts, row)) else None


def _held_value(data: bytes, facts: Facts) -> Held:
    if facts.kind is Kind.TEXT:
        return data.decode("utf-8")
    return data == b"\x01" if facts.kind is Kind.TRUTH else int.from_bytes(data, "big", signed=True)


def _admits(facts: Facts, value: Held) -> bool:
    if value is None:
        return facts.nullable
    if isinstance(value, str):
        return len(value.encode()) <= facts.max_bytes and (facts.values is None or value in facts.values)
    return facts.kind not in WHOLE or facts.ends[0] <= value <= facts.ends[1]


def _starts(plan: QueryPlan) -> list[int]:
    """Where each measure's numbers begin in a group's totals."""
    starts, at = list[int](), 0
    for measure in plan.measures:
        starts.append(at)
        at += measure.columns
    return starts


def _exact(totals: SetTotals, names: Sequence[bytes]) -> Integers:
    """The totals of these groups; 0 for those that no partial has (design R4)."""
    places = {name: at for at, name in enumerate(totals.keys)}
    found = np.zeros((len(names), totals.values.shape[1]), np.int64)
    pairs = [(at, places[name]) for at, name in enumerate(names) if name in places]
    if pairs:
        to, of = map(list, zip(*pairs, strict=True))
        found[to] = totals.values[of]
    return found


def _numbers(exact: Integers, vector: Vector, plan: QueryPlan, starts: Sequence[int]) -> Integers:
    """A vector's numbers before noise, of shape (rows, numbers).

    Each total is clamped so that its weight cannot make it wrap: no honest one comes near, and a clamp moves two totals no further apart.
    """
    tree = plan.tree_of(vector)
    first = starts[vector.measures[0]]
    if tree is not None:
        return tree.spread(exact[:, first : first + tree.leaves])
    columns = []
    for measure, weight in zip(vector.measures, vector.weights, strict=True):
        most = MAX_TOTAL // weight
        columns.append(np.clip(exact[:, starts[measure]], -most, most) * weight)
    return np.stack(columns, axis=1)
