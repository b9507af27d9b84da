"""What leaves: one noisy vector for all means, one choice for each number of a median; then a table with error bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from privacy.intervals import CONFIDENCE
from privacy.mechanisms import Noise
from privacy.programs.answers import Answers
from privacy.programs.forecast import span
from privacy.programs.outputs import Aggregate, Output
from privacy.programs.plan_model import MEDIAN_SPREAD, MEDIAN_STEPS, STEPS, ProgramPlan
from privacy.quantile import Median
from privacy.table import ReleasedTable

# A released mean has this many digits beyond the first one of its noise: more would be digits of noise.
_EXTRA_DIGITS = 3
_MEAN_NOTE = (
    "Intervals cover the noise of the release only: neither how the blocks differ, nor how far answers computed on blocks are "
    "from the answer on all data."
)
_MEDIAN_NOTE = (
    "A median is a value near the middle of the block answers: the plan says how near in ranks, and no interval is given. Its steps "
    "are a thousandth of the declared range."
)
_DEFAULT_NOTE = "A block that gave no valid answer counts as the declared default; how many did is not known."


class NoiseSource(Protocol):
    """Where noise comes from. Production has one: `DrawnNoise`; tests of exactness put their own in its place."""

    def draw(self, noise: Noise, values: list[int]) -> list[int]:
        """The values with noise, in their order."""
        ...

    def choose(self, median: Median, values: Sequence[int]) -> int:
        """A candidate near the middle of the values."""
        ...


class DrawnNoise:
    """Fresh noise from OpenDP's measurements."""

    def draw(self, noise: Noise, values: list[int]) -> list[int]:
        """The values with fresh noise."""
        return noise.draw(values)

    def choose(self, median: Median, values: Sequence[int]) -> int:
        """A fresh choice."""
        return median.draw(values)


def release_program(answers: Answers, plan: ProgramPlan, source: NoiseSource | None = None) -> ReleasedTable:
    """Draws the plan's noise once and makes the table. Calling it again draws again: the caller persists what it returns.

    Raises ValueError where the answers are not those of this plan.
    """
    if answers.values.shape != (plan.blocks, plan.width):
        raise ValueError("these are not the answers of this plan")
    drawn = source if source is not None else DrawnNoise()
    numbers = [output for output in plan.outputs for _ in range(output.width)]
    is_mean = [output.aggregate is Aggregate.MEAN for output in numbers]
    # One joint draw: the price is that of the whole vector.
    sums = [int(answers.values[:, at].sum()) for at, mean in enumerate(is_mean) if mean]
    noisy = iter(drawn.draw(plan.noise, sums)) if plan.noise is not None else iter(())
    cells = []
    for at, output in enumerate(numbers):
        if is_mean[at] and plan.noise is not None:
            cells.append(_mean(output, next(noisy), plan.noise, plan.blocks))
        elif plan.median is not None:
            cells.append(_median(output, drawn.choose(plan.median, candidates_of(answers.values[:, at]))))
    has_elements = any(output.length is not None for output in plan.outputs)
    rows = tuple(_row(key, cell, has_elements=has_elements) for key, cell in zip(_keys(plan), cells, strict=True))
    return ReleasedTable(_columns(has_elements=has_elements), rows, _notes(plan))


def candidates_of(values: npt.NDArray[np.int64]) -> list[int]:
    """The candidate of each block's number: its step of MEDIAN_STEPS, and among that step's candidates the one of the block's index."""
    steps = (values * MEDIAN_STEPS + STEPS // 2) // STEPS
    return list((steps * MEDIAN_SPREAD + np.arange(len(values)) % MEDIAN_SPREAD).tolist())


def _keys(plan: ProgramPlan) -> list[tuple[str, int | None]]:
    return [
        (output.name, None if output.length is None else element)
        for output in plan.outputs
        for element in range(output.width)
    ]


def _row(key: tuple[str, int | None], cell: dict[str, Any], *, has_elements: bool) -> dict[str, Any]:
    name, element = key
    return {"output": name, **({"element": element} if has_elements else {}), "value": cell}


def _columns(*, has_elements: bool) -> tuple[dict[str, str], ...]:
    element = ({"name": "element", "role": "key", "type": "int"},) if has_elements else ()
    return (
        {"name": "output", "role": "key", "type": "string"},
        *element,
        {"name": "value", "role": "value", "type": "decimal"},
    )


def _mean(output: Output, noisy: int, noise: Noise, blocks: int) -> dict[str, Any]:
    """Lower + range · S / (blocks · steps), clamped to the range: post-processing."""
    step = span(output) / (STEPS * blocks)
    reach = noise.half_width(CONFIDENCE)
    digits = _EXTRA_DIGITS - math.floor(math.log10(step * max(reach, 1)))
    low, value, high = (
        _within(output, round(Fraction(output.lower) + step * total, digits))
        for total in (noisy - reach, noisy, noisy + reach)
    )
    return {"value": value, "standard_error": float(step) * noise.standard_error, "low": low, "high": high}


def _median(output: Output, chosen: int) -> dict[str, Any]:
    share = Fraction(chosen // MEDIAN_SPREAD, MEDIAN_STEPS)
    value = _within(output, Fraction(output.lower) + span(output) * share)
    return {"value": value, "standard_error": None, "low": None, "high": None}


def _within(output: Output, value: Fraction) -> float:
    return float(min(max(value, Fraction(output.lower)), Fraction(output.upper)))


def _notes(plan: ProgramPlan) -> tuple[str, ...]:
    means = () if plan.noise is None else (_MEAN_NOTE,)
    medians = () if plan.median is None else (_MEDIAN_NOTE,)
    return (*means, *medians, _DEFAULT_NOTE)
