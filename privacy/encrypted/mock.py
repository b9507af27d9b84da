"""Made-up totals for a job on mock data: a function of the plan and a seed, never of anything that was uploaded."""

from __future__ import annotations

import numpy as np

from privacy.encrypted.plan_model import EncryptedPlan
from privacy.encrypted.terms import GRAM, GRAM_BITS, SQUARE, SUM, UNITS, LeastSquares, square_most
from privacy.mechanisms import Noise


def mock_numbers(plan: EncryptedPlan, seed: int) -> dict[str, list[int]]:
    """Totals as of units that are spread over groups and bounds, with all noise on them."""
    generator = np.random.default_rng(seed)
    weights = generator.uniform(0.5, 1.5, len(plan.terms.groups))
    units = [max(1, round(plan.units * weight / weights.sum())) for weight in weights]
    return {vector.name: _noised(plan.felt(vector.name), _totals(plan, vector.name, units)) for vector in plan.vectors}


def _totals(plan: EncryptedPlan, name: str, units: list[int]) -> list[int]:
    terms = plan.terms
    if name == UNITS:
        return units
    if name == GRAM:
        return _moments(terms.least_squares, plan.units)
    if name.startswith(SUM):
        total = terms.total(name.removeprefix(SUM))
        return [count * (total.lower + (total.upper - total.lower) // 3) for count in units]
    return [count * square_most(terms.total(name.removeprefix(SQUARE))) // 3 for count in units]


def _moments(regression: LeastSquares | None, units: int) -> list[int]:
    """Of even features that do not hang together, and a target that is their mean."""
    if regression is None:
        raise ValueError("these terms have no regression")
    size, features = regression.size, len(regression.features)
    moments = np.eye(size) / 3
    moments[0, 0] = 1.0
    moments[1:-1, -1] = moments[-1, 1:-1] = 1 / (3 * features)
    moments[-1, -1] = 1 / (3 * features)
    entries = moments[np.triu_indices(size)] * units / size * 2**GRAM_BITS
    return [int(entry) for entry in entries]


def _noised(noise: Noise, totals: list[int]) -> list[int]:
    first, second = (noise.draw([0] * len(totals)) for _ in range(2))
    return [total + one + two for total, one, two in zip(totals, first, second, strict=True)]
