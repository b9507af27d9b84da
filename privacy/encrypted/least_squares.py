"""Least squares from noisy moments: how wrong it is expected to be, and the coefficients with what noise may have done to them.

Each unit adds w·wᵀ with w = (1, x, y)/√d, where x and y are mapped by their declared bounds to [-1, 1]; docs/proofs/encrypted.md. What
is done to the noisy matrix (projection, ridge, solving) is post-processing. Coefficients come from the projected matrix with a ridge,
which keeps them from running away; intervals from the matrix as it is (coefficient_interval.py): they are of the regression without.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import Invalid
from privacy.encrypted.coefficient_interval import ends_of
from privacy.encrypted.terms import GRAM_BITS, Bounded, LeastSquares, Terms, gram_length
from privacy.intervals import CONFIDENCE, simulated_noise
from privacy.mechanisms import Noise
from privacy.tails import half_width_of_two

INTERCEPT = "intercept"
BOOTSTRAPS = 500
# The mean square of a feature that is spread evenly over its declared range.
_EVEN = 1 / 3
_Matrix = npt.NDArray[np.float64]


def check_noise(terms: Terms, units: int, noise: Noise) -> None:
    """Raise Invalid (`encrypted.least_squares_noise`) where noise is expected to drown the design.

    The rule: the largest eigenvalue that two noises make (2·√d times their deviation) must be below the least eigenvalue of the moments of
    features that are spread evenly over their declared ranges, units/(3d).
    """
    size = _regression(terms).size
    if 2 * math.sqrt(size) * _deviation(noise) >= units * _EVEN / size:
        raise Invalid(
            "encrypted.least_squares_noise",
            "the noise would be larger than what the declared number of units can say about this many coefficients",
            where={"field": "epsilon"},
            way_out="a larger epsilon, fewer features, more units, or a policy that attests a smaller overlap of the providers",
        )


def predicted_errors(terms: Terms, units: int, standard_error: float) -> list[tuple[str, float]]:
    """Of 95 % of releases, how far noise moves each coefficient, for features spread evenly and coefficients of usual size.

    `standard_error`: of all noise in an entry of the moments, on their grid.
    """
    regression = _regression(terms)
    normal = 1.96 * math.sqrt(2) * standard_error / 2**GRAM_BITS * regression.size / units
    target = _half(regression.target)
    errors = [(column.column, normal / _EVEN * target / _half(column)) for column in regression.features]
    # The intercept lies where all features are 0, which may be far from the middle of what they can be.
    reach = [error * _middle(column) for (_, error), column in zip(errors, regression.features, strict=True)]
    return [(INTERCEPT, math.hypot(normal * target, *reach)), *errors]


def table_rows(terms: Terms, entries: Sequence[int], noise: Noise) -> list[dict[str, Any]]:
    """A row a coefficient: its name, and a cell with value, standard error and the ends of its 95 % interval.

    The ends are None where noise leaves them open: such data say too little. The standard error is the spread of the whole computation,
    by a parametric bootstrap of both noises around the released moments.
    """
    regression = _regression(terms)
    deviation = _deviation(noise)
    moments = _matrix(np.array([float(entry) for entry in entries]), regression.size)
    found = _coefficients(moments, deviation, regression)
    errors = _spread(moments, noise, regression)
    intervals = _intervals(moments, noise, regression)
    names = [INTERCEPT, *(column.column for column in regression.features)]
    return [
        {
            "term": name,
            "coefficient": {
                "value": float(value),
                "standard_error": float(error),
                "low": None if ends is None else min(ends[0], float(value)),
                "high": None if ends is None else max(ends[1], float(value)),
            },
        }
        for name, value, error, ends in zip(names, found, errors, intervals, strict=True)
    ]


def _spread(moments: _Matrix, noise: Noise, regression: LeastSquares) -> _Matrix:
    generator, length = np.random.default_rng(secrets.randbits(128)), gram_length(regression.size)
    around = _projected(moments)
    again = []
    for _ in range(BOOTSTRAPS):
        drawn = sum((simulated_noise(noise, length, generator) for _ in range(2)), np.zeros(length))
        again.append(_coefficients(around + _matrix(drawn, regression.size), _deviation(noise), regression))
    return np.asarray(np.std(again, axis=0))


def _intervals(moments: _Matrix, noise: Noise, regression: LeastSquares) -> list[tuple[float, float] | None]:
    """In the declared units, the intercept first: each is a direction in the coefficients of columns that were mapped to [-1, 1]."""
    width = half_width_of_two(noise.kind, noise.scale, CONFIDENCE) / float(2**GRAM_BITS)
    target, features = _half(regression.target), regression.features
    directions = np.eye(regression.size - 1)
    directions[0, 1:] = [-_middle(column) / _half(column) for column in features]
    units = [target, *(target / _half(column) for column in features)]
    found: list[tuple[float, float] | None] = []
    for direction, unit, offset in zip(
        directions, units, [_middle(regression.target), *[0.0] * len(features)], strict=True
    ):
        ends = ends_of(moments[:-1, :-1], moments[:-1, -1], direction, width)
        found.append(None if ends is None else (offset + unit * ends[0], offset + unit * ends[1]))
    return found


def _coefficients(moments: _Matrix, deviation: float, regression: LeastSquares) -> _Matrix:
    """In the declared units, the intercept first. The ridge is the noise's own size, whatever the data."""
    size = regression.size
    projected = _projected(moments)
    ridge = deviation * math.sqrt(size)
    left = projected[:-1, :-1] + ridge * np.eye(size - 1)
    normal = np.linalg.solve(left, projected[:-1, -1])
    target = _half(regression.target)
    slopes = [target * beta / _half(column) for beta, column in zip(normal[1:], regression.features, strict=True)]
    middle = sum(slope * _middle(column) for slope, column in zip(slopes, regression.features, strict=True))
    return np.array([_middle(regression.target) + target * normal[0] - middle, *slopes])


def _projected(moments: _Matrix) -> _Matrix:
    """The nearest positive semidefinite matrix (Frobenius): moments are one, and noise may have made them none."""
    values, vectors = np.linalg.eigh(moments)
    return np.asarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def _matrix(entries: _Matrix, size: int) -> _Matrix:
    """The symmetric matrix of an upper triangle, off the grid."""
    found = np.zeros((size, size))
    found[np.triu_indices(size)] = entries / 2**GRAM_BITS
    return np.asarray(found + np.triu(found, 1).T)


def _deviation(noise: Noise) -> float:
    """Of both noises together in one entry of the matrix."""
    return math.sqrt(2) * noise.standard_error / float(2**GRAM_BITS)


def _half(column: Bounded) -> float:
    return float(Fraction(column.upper - column.lower, 2 * 10**column.scale))


def _middle(column: Bounded) -> float:
    return float(Fraction(column.upper + column.lower, 2 * 10**column.scale))


def _regression(terms: Terms) -> LeastSquares:
    if terms.least_squares is None:
        raise ValueError("these terms have no regression")
    return terms.least_squares
