"""What all rows contribute to each group once every unit is bounded, said as plainly as possible: the compiled pass must agree (R3).

Used by tests and proofs only; docs/proofs/bounding.md argues from this text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from privacy.siphash import siphash
from privacy.sql.algebra import UNIT, facts_over
from privacy.sql.asked import Grouping
from privacy.sql.bounds import Adds, Bounds, Measured
from privacy.sql.evaluate import evaluator
from privacy.sql.facts import Facts
from privacy.sql.interpreter_rows import Row, Tables, rows_of
from privacy.sql.row_columns import ValueColumn, key_bytes, value_columns, value_number

LARGEST = 2**62 - 1  # no total is shown beyond it
_UNIT, _GROUP, _RANK, _SAMPLE = range(4)  # which of the seed's keys hashes what

Cells = dict[bytes, tuple[int, ...]]
Values = tuple[int | None, ...]  # of one row, by value column
Member = tuple[str, list[Values]]  # a unit that counts in a group, and its rows there


def cells_of(grouping: Grouping, tables: Tables, bounds: Bounds) -> tuple[Cells, ...]:
    """For each grouping set its bounded totals before noise, by the canonical bytes of the group.

    Every measure gives `Measured.columns` numbers, a distinct one how many values its group has. `tables` is as in `rows_of`.
    """
    rows = rows_of(grouping.source, tables)
    keys, values = _keys_of(grouping, bounds), _values_of(grouping)
    read = [(str(row[UNIT]), keys(row), values(row)) for row in rows]
    found: list[Cells] = []
    for chosen, most in zip(grouping.sets, bounds.max_groups, strict=True):
        units: dict[str, dict[bytes, list[Values]]] = {}
        for unit, parts, held in read:
            group = _group([parts[at] for at in chosen])
            if group is not None:
                units.setdefault(unit, {}).setdefault(group, []).append(held)
        found.append(_cells(units, most, bounds))
    return tuple(found)


def chosen_groups(unit: str, groups: Sequence[bytes], most: int, seed: bytes) -> list[bytes]:
    """The groups that a unit counts in: those with the least keyed rank of the unit's and the group's bytes, ties by the bytes (R1)."""
    name = _hash(seed, _UNIT, unit.encode("utf-8"))

    def rank(group: bytes) -> tuple[int, bytes]:
        return _hash(seed, _RANK, struct.pack("<2Q", name, _hash(seed, _GROUP, group))), group

    return sorted(groups, key=rank)[:most]


def _hash(seed: bytes, use: int, data: bytes) -> int:
    words = struct.unpack("<2Q", seed)
    return siphash((siphash(words, bytes([2 * use])), siphash(words, bytes([2 * use + 1]))), data)


def _keys_of(grouping: Grouping, bounds: Bounds) -> Callable[[Row], tuple[bytes | None, ...]]:
    """Canonical bytes of a row's keys; None for one that is outside its range."""
    facts = facts_over(grouping.source)
    keys = [evaluator(key.expression, facts) for key in grouping.keys]
    ranges = bounds.ranges or (None,) * len(keys)

    def found(row: Row) -> tuple[bytes | None, ...]:
        values = [key(row) for key in keys]
        return tuple(
            None if allowed is not None and value is not None and value not in allowed else key_bytes(value, known)
            for value, known, allowed in zip(values, grouping.key_facts, ranges, strict=True)
        )

    return found


def _group(parts: list[bytes | None]) -> bytes | None:
    """The bytes of a group; None where one of its keys is outside its range."""
    inside = [part for part in parts if part is not None]
    return b"".join(inside) if len(inside) == len(parts) else None


def _values_of(grouping: Grouping) -> Callable[[Row], Values]:
    arguments = dict(zip((asked.argument for asked in grouping.values), grouping.argument_facts, strict=True))
    read = [_value_of(column, arguments[column.argument], grouping) for column in value_columns(grouping)]
    return lambda row: tuple(value(row) for value in read)


def _value_of(column: ValueColumn, known: Facts | None, grouping: Grouping) -> Callable[[Row], int | None]:
    """The number of a value column; NULL in rows for which its condition is not TRUE."""
    facts = facts_over(grouping.source)
    keep = None if column.condition is None else evaluator(column.condition, facts)
    argument = None if column.argument is None else evaluator(column.argument, facts)

    def value(row: Row) -> int | None:
        if keep is not None and keep(row) is not True:
            return None
        return 0 if argument is None or known is None else value_number(argument(row), known)

    return value


def _cells(units: dict[str, dict[bytes, list[Values]]], most: int, bounds: Bounds) -> Cells:
    members: dict[bytes, list[Member]] = {}
    for unit, groups in units.items():
        for group in chosen_groups(unit, list(groups), most, bounds.seed):
            members.setdefault(group, []).append((unit, groups[group]))
    return {
        group: tuple(total for measure in bounds.measures for total in _totals(measure, group, counted, bounds))
        for group, counted in members.items()
    }


def _totals(measure: Measured, group: bytes, members: list[Member], bounds: Bounds) -> list[int]:
    if measure.adds is Adds.DISTINCT:
        samples = (_sample(unit, group, _held(rows, measure), measure.k, bounds.seed) for unit, rows in members)
        return [len(set[int]().union(*samples))]
    parts = [_contribution(rows, measure, bounds.max_rows) for _, rows in members]
    return [min(max(sum(column), -LARGEST), LARGEST) for column in zip(*parts, strict=True)]


def _contribution(rows: list[Values], measure: Measured, cap: int) -> list[int]:
    """What one unit adds to a group in which it has these rows; sums of more than `cap` values are scaled down to so many, and floored."""
    held = _held(rows, measure)
    if measure.adds is Adds.UNITS:
        return [min(len(held), 1)]
    if measure.adds in (Adds.ROWS, Adds.NONNULL):
        return [min(len(held), cap)]
    values = [min(max(value, measure.low), measure.high) for value in held]
    if measure.adds is Adds.BINS:
        bins = [(value - measure.low) // measure.step for value in values]
        sums = [bins.count(number) for number in range(measure.columns)]
    else:
        power = 1 if measure.adds is Adds.SUM else 2
        sums = [sum((value - measure.centre) ** power for value in values)]
    return sums if len(held) <= cap else [total * cap // len(held) for total in sums]


def _held(rows: list[Values], measure: Measured) -> list[int]:
    """The values of these rows that are not NULL; where a measure is of no column, one for every row."""
    if measure.value is None:
        return [0] * len(rows)
    return [value for value in (row[measure.value] for row in rows) if value is not None]


def _sample(unit: str, group: bytes, values: list[int], most: int, seed: bytes) -> set[int]:
    """The values of a unit that count in a group: those with the least keyed rank of unit, group and value, ties by the bytes (R6)."""
    names = struct.pack("<2Q", _hash(seed, _UNIT, unit.encode("utf-8")), _hash(seed, _GROUP, group))

    def rank(value: int) -> tuple[int, bytes]:
        data = value.to_bytes(8, "big", signed=True)
        return _hash(seed, _SAMPLE, names + data), data

    return set(sorted(set(values), key=rank)[:most])
