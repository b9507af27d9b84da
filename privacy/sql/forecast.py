"""What a plan can say of an answer's error before data is opened: the noise, never the clipping (that needs a profile)."""

from __future__ import annotations

import math

from privacy.mechanisms import Noise
from privacy.schema import TableSchema
from privacy.sql.plan_model import Forecast, Measure, OutputColumn
from privacy.sql.tree import Aggregate
from privacy.thresholds import KeyThreshold


def forecast_of(
    outputs: tuple[OutputColumn, ...],
    measures: tuple[Measure, ...],
    threshold: KeyThreshold | None,
    rows_per_cell: float | None,
) -> tuple[Forecast, ...]:
    """The 95 % half width of the noise of each value column; None for an AVG whose number of rows cannot be guessed."""
    return tuple(
        Forecast(output.name, output.aggregate.value, _half_width(output, measures, threshold, rows_per_cell))
        for output in outputs
        if output.aggregate is not None
    )


def rows_per_cell(schema: TableSchema, groups: int, cap: int, cells: int | None, *, filtered: bool) -> float | None:
    """How many rows a cell would count if the declared rows were spread evenly; None where a WHERE or private keys hide it."""
    if cells is None or filtered:
        return None
    return max(1.0, min(schema.rows, schema.units * groups * cap) / cells)


def _half_width(
    output: OutputColumn, measures: tuple[Measure, ...], threshold: KeyThreshold | None, per_cell: float | None
) -> float | None:
    noises = [_noise_of(measures[index], threshold) for index in output.measures]
    widths = [float(noise.half_width()) for noise in noises]
    if output.aggregate is not Aggregate.AVG:
        return widths[0] / float(10**output.scale)
    if per_cell is None:
        return None
    centre = measures[output.measures[0]].centre
    reach = max(abs(output.lower - centre), abs(output.upper - centre))
    ratio = math.hypot(widths[0], reach * widths[1]) / per_cell
    return min(ratio, float(output.upper - output.lower)) / float(10**output.scale)


def _noise_of(measure: Measure, threshold: KeyThreshold | None) -> Noise:
    if measure.noise is not None:
        return measure.noise
    if threshold is None:
        raise ValueError("a measure without noise needs a key threshold")
    return threshold.noise
