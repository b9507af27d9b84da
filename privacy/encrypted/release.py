"""From the key holder's noisy totals to a table with error bars: post-processing only, nothing here sees an exact number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from privacy.encrypted import least_squares
from privacy.encrypted.plan_model import EncryptedPlan
from privacy.encrypted.terms import GRAM, SQUARE, SUM, UNITS, Bounded, square_most
from privacy.intervals import CONFIDENCE, Interval, ratio_intervals, twice_noised_interval
from privacy.table import ReleasedTable

DRAWS = 2
EXTRA_DIGITS = 6
# Both parts of a variance at this confidence hold together at 95 %.
HALF_OF_THE_REST = 0.975
_NOTE = (
    "Two noises of full size, the service's and the key holder's, are in every number: intervals cover both. What the bounds on one "
    "unit's contribution cut off at the providers is not known."
)
_SHARED_NOTE = (
    "Noise of full size is in every number from the service, from the key holder and, in shares, from the providers: intervals cover all. "
    "What the bounds on one unit's contribution cut off at the providers is not known."
)
_COUNT_NOTE = "A count that noise made negative is shown as 0."
_MEAN_NOTE = (
    "A mean is that of units' totals in a group, and a variance that of these totals (divided by their number)."
)
_REGRESSION_NOTE = (
    "Coefficients are of the units' mean values, with a ridge of the noise's own size, which draws them towards 0; intervals are those "
    "of the regression without it."
)
_OPEN_NOTE = (
    "Where there is no interval, noise hides how the columns hang together: a larger epsilon, fewer features or closer bounds "
    "would help."
)


def release_encrypted(plan: EncryptedPlan, numbers: Mapping[str, Sequence[int]]) -> ReleasedTable:
    """The released table. Raises ValueError where the numbers are not those of the plan."""
    if {name: len(found) for name, found in numbers.items()} != {each.name: each.length for each in plan.vectors}:
        raise ValueError("these are not the numbers of this plan")
    if plan.compute.least_squares:
        rows = least_squares.table_rows(plan.terms, numbers[GRAM], plan.felt(GRAM))
        described = _described("term", ["coefficient"], "decimal")
        is_open = any(row["coefficient"]["low"] is None for row in rows)
        return ReleasedTable(
            described, tuple(rows), (_noise_note(plan), _REGRESSION_NOTE, *([_OPEN_NOTE] if is_open else []))
        )
    columns = dict(_columns(plan, numbers))
    rows = [
        {_key(plan): group, **{name: cells[at] for name, cells in columns.items()}}
        for at, group in enumerate(plan.terms.groups)
    ]
    return ReleasedTable(_described(_key(plan), list(columns), "decimal"), tuple(rows), _notes(plan))


def _key(plan: EncryptedPlan) -> str:
    return plan.terms.group_by or "group"


def _described(key: str, values: list[str], kind: str) -> tuple[dict[str, str], ...]:
    return (
        {"name": key, "role": "key", "type": "string"},
        *({"name": name, "role": "value", "type": "int" if name == "units" else kind} for name in values),
    )


def _columns(plan: EncryptedPlan, numbers: Mapping[str, Sequence[int]]) -> list[tuple[str, list[dict[str, Any]]]]:
    compute = plan.compute

    def plain(vector: str, unit: Fraction, lowest: int | None) -> list[dict[str, Any]]:
        return [_plain(value, plan, vector, unit, lowest) for value in numbers[vector]]

    return [
        *([("units", plain(UNITS, Fraction(1), 0))] if compute.count else []),
        *(
            (f"sum_{name}", plain(SUM + name, Fraction(1, 10 ** plan.terms.total(name).scale), None))
            for name in compute.sum
        ),
        *((f"mean_{name}", _means(plan, name, numbers)) for name in compute.mean),
        *((f"variance_{name}", _variances(plan, name, numbers)) for name in compute.variance),
    ]


def _plain(value: int, plan: EncryptedPlan, vector: str, unit: Fraction, lowest: int | None) -> dict[str, Any]:
    interval = twice_noised_interval(value, plan.felt(vector))
    low, high = interval.low, interval.high
    if lowest is not None:
        # A count below zero is noise: what it may be reaches as far above zero as noise does.
        value, low, high = max(value, lowest), max(low, lowest), max(high, lowest + interval.high - value)
    return {
        "value": _number(value * unit),
        "standard_error": float(unit) * interval.standard_error,
        "low": _number(Fraction(low) * unit),
        "high": _number(Fraction(high) * unit),
    }


def _number(value: Fraction) -> int | float:
    """As JSON says it; beyond 2^53 to the nearest float."""
    return value.numerator if value.denominator == 1 and abs(value) <= 2**53 else float(value)


def _ratios(
    plan: EncryptedPlan,
    vector: str,
    numbers: Mapping[str, Sequence[int]],
    ends: tuple[int, int],
    confidence: float = CONFIDENCE,
) -> list[Interval]:
    return ratio_intervals(
        numbers[vector],
        numbers[UNITS],
        plan.felt(vector),
        plan.felt(UNITS),
        lower=float(ends[0]),
        upper=float(ends[1]),
        draws=DRAWS,
        confidence=confidence,
    )


def _means(plan: EncryptedPlan, column: str, numbers: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    total, vector = plan.terms.total(column), SUM + column
    intervals = _ratios(plan, vector, numbers, (total.lower, total.upper))
    return [
        _cell(_mean(above, count, total), interval, 1 / 10**total.scale, total.scale)
        for above, count, interval in zip(numbers[vector], numbers[UNITS], intervals, strict=True)
    ]


def _mean(above: int, count: int, total: Bounded) -> Fraction:
    return min(max(Fraction(above, max(count, 1)), Fraction(total.lower)), Fraction(total.upper))


def _variances(plan: EncryptedPlan, column: str, numbers: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """Q/N - (S/N - m)²; its interval from those of both parts, each at 97.5 %, so that both hold in 95 of 100 releases."""
    total, most = plan.terms.total(column), square_most(plan.terms.total(column))
    squares = _ratios(plan, SQUARE + column, numbers, (0, most), HALF_OF_THE_REST)
    means = _ratios(plan, SUM + column, numbers, (total.lower, total.upper), HALF_OF_THE_REST)
    cells = []
    for at, (square, mean) in enumerate(zip(squares, means, strict=True)):
        count = max(numbers[UNITS][at], 1)
        away = _mean(numbers[SUM + column][at], count, total) - total.centre
        value = Fraction(numbers[SQUARE + column][at], count) - away * away
        near, far = _squared_away(mean, total.centre)
        low, high = square.low - far, square.high - near
        # Of the first order: how the variance moves with the mean is twice the distance from the centre.
        error = math.hypot(square.standard_error, 2 * float(away) * mean.standard_error)
        clamped = min(max(value, Fraction(0)), Fraction(most))
        interval = Interval(error, max(0.0, min(low, float(clamped))), min(float(most), max(high, float(clamped))))
        cells.append(_cell(clamped, interval, 1 / 10 ** (2 * total.scale), 2 * total.scale))
    return cells


def _squared_away(mean: Interval, centre: int) -> tuple[float, float]:
    """The least and the largest squared distance of the mean from the centre."""
    ends = ((mean.low - centre) ** 2, (mean.high - centre) ** 2)
    return (0.0 if mean.low <= centre <= mean.high else min(ends)), max(ends)


def _cell(value: Fraction, interval: Interval, unit: float, scale: int) -> dict[str, Any]:
    shown = round(float(value) * unit, scale + EXTRA_DIGITS)
    return {
        "value": shown,
        "standard_error": unit * interval.standard_error,
        "low": min(unit * interval.low, shown),
        "high": max(unit * interval.high, shown),
    }


def _notes(plan: EncryptedPlan) -> tuple[str, ...]:
    compute = plan.compute
    counts = (_COUNT_NOTE,) if compute.count else ()
    means = (_MEAN_NOTE,) if compute.mean or compute.variance else ()
    return (_noise_note(plan), *counts, *means)


def _noise_note(plan: EncryptedPlan) -> str:
    return _SHARED_NOTE if plan.shared else _NOTE
