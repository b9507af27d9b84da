"""What a plan can say of a program's noise before data is opened. It says nothing of the bias of computing on blocks."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

from privacy.intervals import CONFIDENCE
from privacy.mechanisms import Noise
from privacy.programs.outputs import Aggregate, Output
from privacy.programs.plan_model import MEDIAN_CANDIDATES, MEDIAN_SPREAD, STEPS, Forecast
from privacy.quantile import Median

# The ranks of a median are forecast for answers that vary smoothly, as of a Laplace law with 95 % of its answers in a tenth of the
# range. Where answers lie closer together, candidates beyond them are more numerous; docs/proofs/programs.md has the figures.
_SPREAD = 1 / 60
# A sample is no smooth law: the gaps between its answers differ.
_MARGIN = 1.25


def forecast_of(
    outputs: tuple[Output, ...], blocks: int, noise: Noise | None, median: Median | None
) -> tuple[Forecast, ...]:
    """One entry for each output."""
    return tuple(_forecast(output, blocks, noise, median) for output in outputs)


def half_width(output: Output, blocks: int, noise: Noise) -> Fraction:
    """Of 95 % of releases, each number of a mean lies within ± this of the mean of the block answers, in the output's own unit."""
    return span(output) * noise.half_width(CONFIDENCE) / (STEPS * blocks)


def span(output: Output) -> Fraction:
    """The declared range."""
    return Fraction(output.upper) - Fraction(output.lower)


@lru_cache(maxsize=4096)
def rank_reach(blocks: int, median: Median) -> float:
    """Of 95 % of releases, a median lies within this part of the ranks of the middle; at most 0.5. Falls with `blocks`."""
    at = np.abs(np.arange(MEDIAN_CANDIDATES) - MEDIAN_CANDIDATES / 2) / MEDIAN_CANDIDATES
    away = np.sort(-np.expm1(-at / _SPREAD) / 2)
    weights = np.cumsum(np.exp(-blocks * away / float(median.scale)))
    reach = float(away[np.searchsorted(weights, CONFIDENCE * weights[-1])])
    return min(0.5, _MARGIN * reach + 1 / (2 * blocks))


def worst_rank_reach(blocks: int, median: Median) -> float:
    """As `rank_reach`, for any answers whatever, such as those of a program that always gives one of a few numbers.

    All candidates together that are t further from the middle than the best have at most `candidates` times e^(-t/scale) of its
    probability; equal answers are spread over MEDIAN_SPREAD candidates, so the best is at most half a candidate's answers away.
    """
    beyond = float(median.scale) * math.log(median.candidates / (1 - CONFIDENCE)) / blocks
    return min(0.5, beyond + 1 / (2 * MEDIAN_SPREAD) + 1 / (2 * blocks))


def short(value: Fraction) -> str:
    """Two digits, rounded up, without an exponent: 0.013, 250."""
    if value <= 0:
        return "0"
    exponent = math.floor(math.log10(value)) - 1
    unit = Fraction(10) ** exponent
    digits = math.ceil(value / unit) * unit
    return f"{float(digits):.{max(0, -exponent)}f}"


def _forecast(output: Output, blocks: int, noise: Noise | None, median: Median | None) -> Forecast:
    if output.aggregate is Aggregate.MEAN and noise is not None:
        noise_95 = short(min(half_width(output, blocks, noise), span(output)))
        return Forecast(output.name, output.aggregate, output.width, noise_95, None)
    if median is None:
        raise ValueError("an output has its mechanism")
    return Forecast(output.name, output.aggregate, output.width, None, _ranks(rank_reach(blocks, median)))


def _ranks(reach: float) -> str:
    low, high = math.floor(100 * (0.5 - reach)), math.ceil(100 * (0.5 + reach))
    return f"between the {_ordinal(low)} and the {_ordinal(high)} percentile of the block answers"


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
