"""What a plan can say of an encrypted job's error before anything is computed, beside a plaintext job at the same price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from privacy.encrypted.least_squares import predicted_errors
from privacy.encrypted.plan_model import Forecast, PlannedVector
from privacy.encrypted.request import Compute
from privacy.encrypted.terms import SQUARE, SUM, UNITS, Bounded, Terms, square_most
from privacy.intervals import CONFIDENCE
from privacy.mechanisms import Noise
from privacy.programs.forecast import short
from privacy.tails import half_width_of, half_width_of_two, standard_error_of

# All that is added, as two draws of it would; and what one party adds.
_Noises = tuple[Noise, Noise]


def forecast_of(
    compute: Compute, terms: Terms, units: int, vectors: Sequence[PlannedVector], overlap: int, providers: int
) -> tuple[Forecast, ...]:
    """One entry an output, for groups of equal size. `units`: of all providers together.

    The plaintext job has one noise instead of two, and knows a unit at two providers for one: it is the alternative where all would
    hand over their rows.
    """
    noises = {vector.name: (vector.felt(providers), vector.noise) for vector in vectors}
    if compute.least_squares:
        felt, noise = noises[vectors[0].name]
        both = zip(
            predicted_errors(terms, units, math.sqrt(2) * felt.standard_error),
            predicted_errors(terms, units, standard_error_of(noise.kind, _alone(noise, overlap))),
            strict=True,
        )
        return tuple(
            Forecast(name, "coefficient", _short(two), _short(one), "unknown: values beyond their declared bounds")
            for (name, two), (_, one) in both
        )
    share = Fraction(units, len(terms.groups))
    left_out, outside = _left_out(terms), {total.column: _outside(terms, total) for total in terms.totals}
    counts = [_entry("units", "count", Fraction(1), noises[UNITS], overlap, left_out)] if compute.count else []
    return (
        *counts,
        *(
            _entry(f"sum_{name}", "sum", _unit(terms, name), noises[SUM + name], overlap, outside[name])
            for name in compute.sum
        ),
        *(
            _ratio(f"mean_{name}", "mean", terms, name, SUM, share, noises, overlap, outside[name])
            for name in compute.mean
        ),
        *(
            _ratio(f"variance_{name}", "variance", terms, name, SQUARE, share, noises, overlap, outside[name])
            for name in compute.variance
        ),
    )


def _unit(terms: Terms, column: str) -> Fraction:
    return Fraction(1, 10 ** terms.total(column).scale)


def _left_out(terms: Terms) -> str:
    if terms.max_groups == len(terms.groups):
        return "none"
    return f"unknown: a {terms.unit} in more than {terms.max_groups} groups counts in {terms.max_groups} of them"


def _outside(terms: Terms, total: Bounded) -> str:
    low, high = (f"{Decimal(end).scaleb(-total.scale):,f}" for end in (total.lower, total.upper))
    others = "" if terms.max_groups == len(terms.groups) else f", or in more than {terms.max_groups} groups"
    return f"unknown: totals of a {terms.unit} outside {low} … {high}{others}"


def _alone(noise: Noise, overlap: int) -> Fraction:
    """The scale for a job that sees each unit once: less by the overlap."""
    return max(Fraction(1), noise.scale / overlap)


def _entry(name: str, kind: str, unit: Fraction, noises: _Noises, overlap: int, clipping: str) -> Forecast:
    felt, noise = noises
    two = half_width_of_two(felt.kind, felt.scale, CONFIDENCE)
    one = half_width_of(noise.kind, _alone(noise, overlap), CONFIDENCE)
    return Forecast(name, kind, short(unit * two), short(unit * one), clipping)


def _ratio(
    name: str,
    kind: str,
    terms: Terms,
    column: str,
    above: str,
    share: Fraction,
    noises: dict[str, _Noises],
    overlap: int,
    clipping: str,
) -> Forecast:
    """A ratio moves by the noise above it, and by that of the count times its own size: for the middle of what it may be."""
    total = terms.total(column)
    size = Fraction(total.most, 2) if above == SUM else Fraction(square_most(total), 3)
    unit = _unit(terms, column) ** (1 if above == SUM else 2)
    top, count = noises[above + column], noises[UNITS]

    def error(width_of_top: int, width_of_count: int) -> float:
        return float(unit) * math.hypot(width_of_top, float(size) * width_of_count) / float(share)

    two = [half_width_of_two(felt.kind, felt.scale, CONFIDENCE) for felt, _ in (top, count)]
    one = [half_width_of(noise.kind, _alone(noise, overlap), CONFIDENCE) for _, noise in (top, count)]
    return Forecast(name, kind, _short(error(*two)), _short(error(*one)), clipping)


def _short(value: float) -> str:
    return short(Fraction(value))
