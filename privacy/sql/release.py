"""What leaves: noise on the totals by the plan's own mechanisms, then post-processing into a table with error bars."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from typing import Any, Protocol

from privacy.intervals import Interval, plain_interval, ratio_intervals
from privacy.mechanisms import Noise
from privacy.sql.combine import Totals
from privacy.sql.keys import decode, encode, order_of, shown
from privacy.sql.plan_model import MAX_SHOWN, Measure, OutputColumn, QueryPlan
from privacy.sql.tree import Aggregate
from privacy.table import ReleasedTable
from privacy.thresholds import KeyThreshold

EXTRA_DIGITS = 6  # decimal digits of an AVG beyond those of its column
_COUNTS = frozenset({Aggregate.ROWS, Aggregate.NONNULL, Aggregate.UNITS})


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


def release(totals: Totals, plan: QueryPlan, noise: NoiseSource | None = None) -> ReleasedTable:
    """Draws the plan's noise once and makes the table. Calling it again draws again: the caller persists what it returns."""
    source = noise if noise is not None else DrawnNoise()
    keys, passed = _keys(totals, plan, source)
    nothing = (0,) * len(plan.measures)
    exact = [totals.cells.get(key, nothing) for key in keys]
    noisy: list[list[int]] = []
    for index, measure in enumerate(plan.measures):
        if measure.noise is not None:
            noisy.append(source.draw(measure.noise, [values[index] for values in exact]))
        else:
            noisy.append([passed[key] for key in keys])
    del exact
    columns = [_cells(output, plan, noisy) for output in plan.outputs if output.aggregate is not None]
    rows = [_row(plan, key, [column[at] for column in columns]) for at, key in enumerate(keys)]
    described = tuple(
        {"name": o.name, "role": "key" if o.aggregate is None else "value", "type": o.type} for o in plan.outputs
    )
    return ReleasedTable(described, tuple(rows), _notes(plan))


def _keys(totals: Totals, plan: QueryPlan, source: NoiseSource) -> tuple[list[bytes], dict[bytes, int]]:
    """The keys to show, in an order that is a function of the keys alone; with private keys, their noisy units too."""
    if plan.threshold is None:
        domains = [key.values or () for key in plan.keys]
        return [encode(row, plan.keys) for row in product(*domains)], {}
    units = next(index for index, measure in enumerate(plan.measures) if measure.noise is None)
    passed = source.select(plan.threshold, {key: values[units] for key, values in totals.cells.items()})
    return sorted(passed, key=lambda key: order_of(decode(key, plan.keys))), passed


def _row(plan: QueryPlan, key: bytes, values: list[dict[str, Any]]) -> dict[str, Any]:
    decoded, rest = decode(key, plan.keys), iter(values)
    row: dict[str, Any] = {}
    for output in plan.outputs:
        if output.key is not None:
            row[output.name] = shown(decoded[output.key], plan.keys[output.key])
        else:
            row[output.name] = next(rest)
    return row


def _cells(output: OutputColumn, plan: QueryPlan, noisy: list[list[int]]) -> list[dict[str, Any]]:
    """One value column: post-processing of noisy numbers only."""
    found = [noisy[index] for index in output.measures]
    noises = [_noise_of(plan.measures[index], plan) for index in output.measures]
    if output.aggregate is Aggregate.AVG:
        return _averages(output, plan.measures[output.measures[0]].centre, found, noises)
    lowest = 0 if output.aggregate in _COUNTS else None
    unit = Fraction(1, 10**output.scale)
    return [_plain(value, noises[0], unit, lowest) for value in found[0]]


def _noise_of(measure: Measure, plan: QueryPlan) -> Noise:
    if measure.noise is not None:
        return measure.noise
    if plan.threshold is None:
        raise ValueError("a measure without noise needs a key threshold")
    return plan.threshold.noise


def _plain(value: int, noise: Noise, unit: Fraction, lowest: int | None) -> dict[str, Any]:
    interval = plain_interval(value, noise)
    low, high = interval.low, interval.high
    if lowest is not None:
        value, low, high = max(value, lowest), max(low, lowest), max(high, lowest)
    return {
        "value": _number(value * unit),
        "standard_error": float(unit) * interval.standard_error,
        "low": _number(Fraction(low) * unit),
        "high": _number(Fraction(high) * unit),
    }


def _averages(output: OutputColumn, centre: int, found: list[list[int]], noises: list[Noise]) -> list[dict[str, Any]]:
    """AVG is centre + S / max(N, 1), clamped to the bounds; intervals from simulating exactly this (design R19)."""
    unit = Fraction(1, 10**output.scale)
    sums, counts = found
    lower, upper = float(output.lower - centre), float(output.upper - centre)
    intervals = ratio_intervals(sums, counts, noises[0], noises[1], lower=lower, upper=upper)
    digits = output.scale + EXTRA_DIGITS
    cells = []
    for total, count, interval in zip(sums, counts, intervals, strict=True):
        exact = centre + Fraction(total, max(count, 1))
        clamped = min(max(exact, Fraction(output.lower)), Fraction(output.upper)) * unit
        bounds = float(output.lower * unit), float(output.upper * unit)
        cells.append(
            _average(float(round(clamped, digits)), interval.scaled(float(unit), float(centre * unit)), bounds)
        )
    return cells


def _average(value: float, interval: Interval, bounds: tuple[float, float]) -> dict[str, Any]:
    return {
        "value": value,
        "standard_error": interval.standard_error,
        "low": max(bounds[0], min(interval.low, value)),
        "high": min(bounds[1], max(interval.high, value)),
    }


def _number(value: Fraction) -> int | float:
    """A JSON number that reads back as what was written. Beyond 2^53 none would: planning refuses sums that could get there."""
    value = max(-Fraction(MAX_SHOWN), min(Fraction(MAX_SHOWN), value))
    return value.numerator if value.denominator == 1 else float(value)


def _notes(plan: QueryPlan) -> tuple[str, ...]:
    notes = ["Intervals cover the noise. What the bounds on one unit's contribution cut off is not known."]
    if plan.threshold is not None:
        notes.append("Groups with few units are not shown.")
    if any(output.aggregate in _COUNTS for output in plan.outputs):
        notes.append("A count that noise made negative is shown as 0.")
    return tuple(notes)
