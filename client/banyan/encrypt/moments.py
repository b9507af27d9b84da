"""The second moments for a regression, to which each privacy unit gives one matrix of bounded norm, whatever its rows hold."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from banyan.encrypt import exact_sums
from banyan.encrypt.exact_sums import LIMB_BITS, Integers
from banyan.encrypt.terms import GRAM_BITS, Bounded, LeastSquares, gram_norm

Floats = npt.NDArray[np.float64]


def moments(columns: Mapping[str, Integers], order: Integers, starts: Integers, regression: LeastSquares) -> list[int]:
    """The sum over the units of round(2^F · w·wᵀ), its upper triangle row by row.

    w = (1, x…, y) / √d, where x and y are the means of the unit's clamped values, mapped to [-1, 1] by the declared bounds: ‖w‖ ≤ 1.
    `order` puts the rows of each unit together; `starts` says where in it each unit begins.
    """
    counts = np.diff(np.r_[starts, len(order)])
    bounded = (*regression.features, regression.target)
    return _sums(
        np.stack([_means(columns[each.column][order], starts, counts, each) for each in bounded]), regression.size
    )


def _means(values: Integers, starts: Integers, counts: Integers, bounded: Bounded) -> Floats:
    """Each unit's mean, mapped to [-1, 1]. The sum of the distances from the lower end is exact: rows may stand in any order."""
    away = np.clip(values, bounded.lower, bounded.upper) - bounded.lower
    high, low = exact_sums.runs(away, starts)
    total = high * float(1 << LIMB_BITS) + low
    mapped: Floats = np.clip(2 * total / (counts * float(bounded.upper - bounded.lower)) - 1, -1.0, 1.0)
    return mapped


def _sums(means: Floats, size: int) -> list[int]:
    scaled = np.vstack([np.ones(means.shape[1]), means]) / math.sqrt(size)
    norms = np.zeros(means.shape[1], np.int64)
    found = []
    for row in range(size):
        for column in range(row, size):
            entry = np.rint(scaled[row] * scaled[column] * (1 << GRAM_BITS)).astype(np.int64)
            norms += entry * entry
            found.append(int(entry.sum()))
    if int(norms.max()) > gram_norm(size) ** 2:
        raise RuntimeError("a unit's part is larger than its bound")
    return found
