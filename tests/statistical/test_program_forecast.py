"""A plan's forecast of a program's noise holds in at least 90 of 100 releases and is at most three times what is found.

On block answers as programs give them: smooth laws, wide, narrow, skewed, near an end of the range, some blocks with the default.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from privacy.accountant import Accountant
from privacy.programs.forecast import rank_reach, worst_rank_reach
from privacy.programs.plan_model import MEDIAN_SPREAD, MEDIAN_STEPS, STEPS
from privacy.programs.release import candidates_of
from privacy.quantile import Median
from tests.unit.program_world import AUC, output, plan

RELEASES = 200
# A choice among crowds takes longer.
FEWER_RELEASES = 60
BLOCKS = 304
EPSILON = {Accountant.BASIC: Fraction(1, 2), Accountant.ZCDP: Fraction(3, 2)}
Shares = npt.NDArray[np.float64]


def smooth_answers() -> dict[str, Shares]:
    """Shares of the range, one a block."""
    random = np.random.default_rng(20260101)
    normal = random.normal(0, 1, BLOCKS)
    return {
        "wide": 0.5 + 0.2 * normal,
        "narrow": 0.3 + 0.02 * normal,
        "heavy tails": 0.4 + 0.03 * random.standard_t(3, BLOCKS),
        "skewed": random.exponential(0.1, BLOCKS),
        "near an end": 0.12 + 0.05 * normal,
        "a tenth of defaults": np.where(random.random(BLOCKS) < 0.1, 0, 0.5 + 0.05 * normal),
    }


def lumpy_answers() -> dict[str, Shares]:
    """Answers that crowd at few values: what the forecast does not assume."""
    random = np.random.default_rng(20260102)
    return {
        "one of five": random.integers(0, 5, BLOCKS) / 4,
        "a coin": (random.random(BLOCKS) < 0.6) * 1.0,
        "half clamped": 0.05 * random.normal(0, 1, BLOCKS),
        "many defaults": np.where(random.random(BLOCKS) < 0.4, 0, random.normal(0.5, 0.05, BLOCKS)),
    }


def distances(median: Median, shares: Shares, releases: int = RELEASES) -> Shares:
    """How far from the middle, in parts of the ranks, released medians lie; equal answers have all their ranks."""
    values = np.rint(np.clip(shares, 0, 1) * STEPS).astype(np.int64)
    candidates = candidates_of(values)
    answers = np.sort((values * MEDIAN_STEPS + STEPS // 2) // STEPS)
    drawn = np.array([median.draw(candidates) // MEDIAN_SPREAD for _ in range(releases)])
    below = np.searchsorted(answers, drawn, side="left") / BLOCKS
    up_to = np.searchsorted(answers, drawn, side="right") / BLOCKS
    return np.maximum(np.maximum(below - 0.5, 0.5 - up_to), 0.0)


def median_of(accountant: Accountant) -> Median:
    found = plan(AUC, accountant=accountant, epsilon=EPSILON[accountant], blocks=BLOCKS).median
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize("law", smooth_answers())
def test_ranks_of_a_median(accountant, law):
    median = median_of(accountant)
    found, told = distances(median, smooth_answers()[law]), rank_reach(BLOCKS, median)
    assert told < 0.2
    assert np.mean(found <= told) >= 0.9
    assert told <= 3 * np.quantile(found, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("accountant", Accountant)
@pytest.mark.parametrize("law", lumpy_answers())
def test_ranks_of_a_median_at_worst(accountant, law):
    median = median_of(accountant)
    found = distances(median, lumpy_answers()[law], FEWER_RELEASES)
    assert np.mean(found <= worst_rank_reach(BLOCKS, median)) >= 0.9


@pytest.mark.parametrize("accountant", Accountant)
def test_noise_of_a_mean(accountant):
    planned = plan(output("a", 1000), accountant=accountant, epsilon=Fraction(20), blocks=BLOCKS)
    assert planned.noise is not None
    step = 6 / (STEPS * BLOCKS)
    found = np.abs(np.array(planned.noise.draw([0] * 10_000), dtype=np.float64)) * step
    told = float(planned.forecast[0].noise_95 or "")
    assert np.mean(found <= told) >= 0.9
    assert told <= 3 * np.quantile(found, 0.95)
