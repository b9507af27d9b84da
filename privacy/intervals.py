"""Error bars: what noise alone may have done to a released number (design R19). They are post-processing and cost nothing.

Counts and sums carry the quantiles of their own noise. A ratio carries an interval found by simulating its noise and asking
which true ratios the noisy pair does not contradict; docs/proofs/intervals.md says why that holds in nearly empty groups too.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privacy.mechanisms import Noise, NoiseKind
from privacy.tails import half_width_of_two

CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]

CANDIDATES = 129
INTERVAL_DRAWS = 8_000
_ERROR_DRAWS = 2_000
_CHUNK = 500


@dataclass(frozen=True)
class Interval:
    """The standard error of one released number, and where the number without noise lies with 95 % confidence."""

    standard_error: float
    low: float
    high: float

    def scaled(self, unit: float, offset: float = 0) -> Interval:
        """The interval of offset + unit · x, for a unit above 0."""
        return Interval(unit * self.standard_error, offset + unit * self.low, offset + unit * self.high)


def plain_interval(value: int, noise: Noise) -> Interval:
    """For a count or a sum: the noisy value ± the half width of its noise."""
    half_width = noise.half_width(CONFIDENCE)
    return Interval(noise.standard_error, value - half_width, value + half_width)


def twice_noised_interval(value: int, noise: Noise) -> Interval:
    """For a count or a sum to which two parties added noise of this size each."""
    half_width = half_width_of_two(noise.kind, noise.scale, CONFIDENCE)
    return Interval(math.sqrt(2) * noise.standard_error, value - half_width, value + half_width)


def ratio_intervals(
    sums: Sequence[int],
    counts: Sequence[int],
    sum_noise: Noise,
    count_noise: Noise,
    *,
    lower: float,
    upper: float,
    draws: int = 1,
    confidence: float = CONFIDENCE,
    seed: int | None = None,
) -> list[Interval]:
    """For cells released as sum / max(count, 1) clamped to [lower, upper]: one interval for each pair of noisy values.

    The true ratio, sum / count before noise, must lie in [lower, upper], as that of bounded rows does. `draws` is how many parties added
    noise of this size; `seed` is for tests.
    """
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError("a ratio needs two finite bounds, the lower first")
    if not sums:
        return []
    generator = np.random.default_rng(secrets.randbits(128) if seed is None else seed)
    sum_draws, count_draws = (
        sum((simulated_noise(noise, INTERVAL_DRAWS, generator) for _ in range(draws)), np.zeros(INTERVAL_DRAWS))
        for noise in (sum_noise, count_noise)
    )
    return bounded_ratio_intervals(
        np.array(sums, float), np.array(counts, float), sum_draws, count_draws, (lower, upper), confidence
    )


def bounded_ratio_intervals(
    sums: Floats,
    counts: Floats,
    sum_draws: Floats,
    count_draws: Floats,
    bounds: tuple[float, float],
    confidence: float = CONFIDENCE,
) -> list[Interval]:
    """As `ratio_intervals`, from draws of both noises."""
    lower, upper = bounds
    ratios = np.linspace(lower, upper, CANDIDATES)
    reach = _reach(ratios, sum_draws, count_draws, confidence)
    found: list[Interval] = []
    for start in range(0, len(sums), _CHUNK):
        pair = sums[start : start + _CHUNK], counts[start : start + _CHUNK]
        released = _released(*pair, lower, upper)
        errors = _errors(*pair, sum_draws[:_ERROR_DRAWS], count_draws[:_ERROR_DRAWS], lower=lower, upper=upper)
        lows, highs = _hull(*pair, ratios, reach)
        lows, highs = np.minimum(lows, released), np.maximum(highs, released)
        found += [Interval(*map(float, cell)) for cell in zip(errors, lows, highs, strict=True)]
    return found


def inverted(
    tops: Floats, bottoms: Floats, top_draws: Floats, bottom_draws: Floats, ratios: Floats, confidence: float
) -> tuple[Floats, Floats]:
    """For each pair of noisy numbers the least and the greatest true ratio that their noise, of which these are draws, admits.

    Ratios between the first and the last of `ratios`, which increase, are asked; where none is admitted both of these are returned.
    top - r·bottom of the noisy pair is noise alone where r is the true ratio, whatever the true numbers are.
    """
    reach = _reach(ratios, top_draws, bottom_draws, confidence)
    chunks = [
        _hull(tops[at : at + _CHUNK], bottoms[at : at + _CHUNK], ratios, reach) for at in range(0, len(tops), _CHUNK)
    ]
    if not chunks:
        return np.zeros(0), np.zeros(0)
    lows, highs = zip(*chunks, strict=True)
    return np.concatenate(lows), np.concatenate(highs)


def simulated_noise(noise: Noise, number: int, generator: np.random.Generator) -> Floats:
    """Simulated noise: information for people, so a fast ordinary generator will do; nothing of it is released."""
    scale = float(noise.scale)
    if noise.kind is NoiseKind.GAUSSIAN:
        return np.rint(generator.normal(0.0, scale, number))
    # The difference of two geometric variables is discrete Laplace.
    success = -math.expm1(-1 / scale)
    return (generator.geometric(success, number) - generator.geometric(success, number)).astype(np.float64)


def _released(sums: Floats, counts: Floats, lower: float, upper: float) -> Floats:
    return np.clip(sums / np.maximum(counts, 1.0), lower, upper)


def _errors(
    sums: Floats, counts: Floats, sum_draws: Floats, count_draws: Floats, *, lower: float, upper: float
) -> Floats:
    """The spread of the whole release function, simulated at the noisy values."""
    again = _released(sums[:, None] + sum_draws, counts[:, None] + count_draws, lower, upper)
    return np.asarray(again.std(axis=1))


def _reach(ratios: Floats, sum_draws: Floats, count_draws: Floats, confidence: float) -> Floats:
    """For each candidate ratio r, how far sum - r·count strays from 0 by noise alone, in that share of draws, if r is true."""
    strayed = np.abs(sum_draws - ratios[:, None] * count_draws)
    return np.asarray(np.quantile(strayed, confidence, axis=1, method="higher"))


def _hull(sums: Floats, counts: Floats, ratios: Floats, reach: Floats) -> tuple[Floats, Floats]:
    """The least and greatest ratio r with |sum - r·count| ≤ reach(r); all candidates where there is none.

    Between candidates the reach is taken as linear, so that each segment is a pair of linear inequalities.
    """
    left, right = ratios[:-1], ratios[1:]
    slope = (reach[1:] - reach[:-1]) / (right - left)
    at_zero = reach[:-1] - slope * left
    low, high = np.broadcast_to(left, (len(sums), len(left))), np.broadcast_to(right, (len(sums), len(left)))
    # sum - r·count ≤ at_zero + slope·r   and   r·count - sum ≤ at_zero + slope·r
    for sign in (1.0, -1.0):
        factor, least = sign * counts[:, None] + slope, sign * sums[:, None] - at_zero
        low, high = _narrowed(low, high, factor, least)
    allowed = low <= high
    none = ~allowed.any(axis=1)
    lows = np.where(allowed, low, np.inf).min(axis=1)
    highs = np.where(allowed, high, -np.inf).max(axis=1)
    return np.where(none, ratios[0], lows), np.where(none, ratios[-1], highs)


def _narrowed(low: Floats, high: Floats, factor: Floats, least: Floats) -> tuple[Floats, Floats]:
    """The part of [low, high] where factor · r ≥ least; an empty part has low > high."""
    flat = factor == 0
    edge = least / np.where(flat, 1.0, factor)
    low = np.where(factor > 0, np.maximum(low, edge), low)
    high = np.where(factor < 0, np.minimum(high, edge), high)
    return np.where(flat & (least > 0), np.inf, low), high
