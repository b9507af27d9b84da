"""Error bars of values and of what is made of them: what the plan's noise alone may have done to each (design R19).

They are post-processing of noisy numbers and plan. Proof: docs/proofs/intervals.md.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from privacy.intervals import (
    CANDIDATES,
    CONFIDENCE,
    INTERVAL_DRAWS,
    Floats,
    Interval,
    bounded_ratio_intervals,
    inverted,
    simulated_noise,
)
from privacy.mechanisms import Noise
from privacy.quantile_intervals import quantile_intervals
from privacy.sql.aggregates import Aggregate
from privacy.sql.answers import COUNTS, DEVIATIONS, SAMPLES, bins_of
from privacy.sql.expressions import Expression
from privacy.sql.linear_forms import Form, Quotient
from privacy.sql.noised import NoisySet
from privacy.sql.query_plan import Made, Part, QueryPlan
from privacy.sql.simulated_errors import simulated_errors
from privacy.variance_intervals import MomentParts, variance_intervals

Bar = Interval | None  # None: nothing is known
_STEEPEST = 1e-3  # how near to upright a ratio is asked about, in radians
_ERROR_DRAWS = 500
_SIGMA = (0.15865525, 0.84134475)  # between these shares of a normal distribution lie two standard deviations


@dataclass(eq=False)
class Bars:
    """Error bars for some rows (places in the set) of one grouping set. `seed` is for tests."""

    plan: QueryPlan
    noisy: NoisySet
    rows: Sequence[int]
    seed: int | None = None
    _draws: dict[Part, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._generator = np.random.default_rng(secrets.randbits(128) if self.seed is None else self.seed)

    def of_value(self, place: int) -> list[Bar]:
        """Of a value of the noisy table, row by row."""
        made = self.plan.made[place]
        if made.aggregate is Aggregate.QUANTILE:
            return [*self._quantiles(made)]
        if made.aggregate in COUNTS or made.aggregate is Aggregate.SUM:
            found = self._single(made.parts[0], Fraction(1, 10**made.scale), Fraction(0))
            return [_at_least_none(bar) for bar in found] if made.aggregate in COUNTS else [*found]
        numbers, draws = ([self._natural(part, of) for part in made.parts] for of in (self._numbers, self._noise))
        bounds = float(made.low - made.centre), float(made.high - made.centre)
        unit = 1 / 10**made.scale
        if made.low == made.high:  # there is nothing to be unsure of
            always = made.low * unit if made.aggregate is Aggregate.AVG else 0.0
            return [Interval(0.0, always, always)] * len(self.rows)
        if made.aggregate is Aggregate.AVG:
            averages = bounded_ratio_intervals(numbers[1], numbers[0], draws[1], draws[0], bounds)
            return [_within(bar.scaled(unit, made.centre * unit), made) for bar in averages]
        root = made.aggregate in DEVIATIONS
        spreads = variance_intervals(
            MomentParts(*numbers), MomentParts(*draws), bounds, sample=made.aggregate in SAMPLES, root=root
        )
        return [bar.scaled(unit if root else unit**2) for bar in spreads]

    def of_form(self, form: Form) -> list[Bar]:
        """Of a sum or a quotient of sums, row by row; None where the noise leaves a quotient without bounds."""
        if isinstance(form, Quotient):
            return self._quotients(form)
        if len(form.factors) == 1:
            ((part, factor),) = form.factors.items()
            weight = self.plan.vectors[part.vector].weights[part.place]
            return [*self._single(part, factor * weight, form.constant)]
        draws = self._combined(form.factors, self._noise, INTERVAL_DRAWS)
        reach = float(np.quantile(np.abs(draws), CONFIDENCE, method="higher"))
        variance = math.fsum(
            (float(factor) * self._of(part).standard_error) ** 2 for part, factor in form.factors.items()
        )
        values = self._combined(form.factors, self._numbers, len(self.rows)) + float(form.constant)
        return [Interval(math.sqrt(variance), value - reach, value + reach) for value in values.tolist()]

    def simulated(self, expression: Expression) -> list[float | None]:
        """A standard error for each row, of an output of any form."""
        return simulated_errors(expression, self.plan, self.noisy, self.rows, self._generator)

    def _single(self, part: Part, unit: Fraction, constant: Fraction) -> list[Interval]:
        """Of one number: its own noise, exactly."""
        noise, weight = self._of(part), self.plan.vectors[part.vector].weights[part.place]
        step = abs(unit) / weight
        error, width = float(step) * noise.standard_error, step * noise.half_width(CONFIDENCE)
        middles = (constant + Fraction(int(value)) * unit / weight for value in self._exact(part))
        return [Interval(error, float(middle - width), float(middle + width)) for middle in middles]

    def _quotients(self, form: Quotient) -> list[Bar]:
        top, bottom = form.top, form.bottom
        noises = [self._combined(each.factors, self._noise, INTERVAL_DRAWS) for each in (top, bottom)]
        values = [
            self._combined(each.factors, self._numbers, len(self.rows)) + float(each.constant) for each in (top, bottom)
        ]
        turns = np.linspace(_STEEPEST - math.pi / 2, math.pi / 2 - _STEEPEST, CANDIDATES)
        slope = max(float(noises[0].std()), 1e-300) / max(float(noises[1].std()), 1e-300)
        ratios = slope * np.tan(turns)
        lows, highs = inverted(values[0], values[1], noises[0], noises[1], ratios, CONFIDENCE)
        some = [each[:_ERROR_DRAWS] for each in noises]
        found: list[Bar] = []
        for above, below, low, high in zip(*values, lows, highs, strict=True):
            unbounded = low <= ratios[0] or high >= ratios[-1]
            again = (above + some[0]) / np.where(below + some[1] == 0, np.inf, below + some[1])
            first, last = np.quantile(again, _SIGMA)
            found.append(None if unbounded else Interval(float(last - first) / 2, float(low), float(high)))
        return found

    def _quantiles(self, made: Made) -> list[Interval]:
        part = made.parts[0]
        vector = self.plan.vectors[part.vector]
        tree, nodes = self.plan.tree_of(vector), self.noisy.vectors[part.vector]
        if tree is None or nodes is None or made.parameter is None:
            raise ValueError("a quantile is of a released tree")
        unit = 1 / 10**made.scale
        found = quantile_intervals(
            nodes[list(self.rows)],
            tree,
            bins_of(made, self.plan),
            float(made.parameter),
            self._of(part),
            self._generator,
        )
        return [_within(bar.scaled(unit), made) for bar in found]

    def _of(self, part: Part) -> Noise:
        noise = self.noisy.noises[part.vector]
        if noise is None:
            raise ValueError("a value is made of a vector that is not released")
        return noise

    def _exact(self, part: Part) -> list[int]:
        numbers = self.noisy.vectors[part.vector]
        if numbers is None:
            raise ValueError("a value is made of a vector that is not released")
        found: list[int] = numbers[list(self.rows), part.place].tolist()
        return found

    def _numbers(self, part: Part) -> Floats:
        return np.array(self._exact(part), np.float64)

    def _noise(self, part: Part) -> Floats:
        """Draws of a part's noise, the same ones whenever it is asked for."""
        if part not in self._draws:
            self._draws[part] = simulated_noise(self._of(part), INTERVAL_DRAWS, self._generator)
        return self._draws[part]

    def _natural(self, part: Part, of: Callable[[Part], Floats]) -> Floats:
        return of(part) / float(self.plan.vectors[part.vector].weights[part.place])

    def _combined(self, factors: Mapping[Part, Fraction], of: Callable[[Part], Floats], size: int) -> Floats:
        found = np.zeros(size)
        for part, factor in factors.items():
            found += float(factor) * of(part)
        return found


def _at_least_none(bar: Interval) -> Interval:
    return Interval(bar.standard_error, max(0.0, bar.low), max(0.0, bar.high))


def _within(bar: Interval, made: Made) -> Interval:
    """Within the ends of the argument, which scaling by a float can miss by the last digit."""
    low, high = (float(Fraction(end, 10**made.scale)) for end in (made.low, made.high))
    return Interval(bar.standard_error, max(low, bar.low), min(high, bar.high))
