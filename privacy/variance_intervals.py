"""Error bars of variances, from noisy moments: what the noise alone may have done (design R19; docs/proofs/intervals.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privacy.intervals import CANDIDATES, Floats, Interval, inverted

_MEANS = 33  # points of the range of which the one next to a group's mean is calculated about
_ERROR_DRAWS = 500
_CHUNK = 500
# What may go wrong: 1 % that the mean lies outside of its interval, 1 % the number of values, 3 % the ratio.
_SURE, _RATIO = 0.99, 0.97


@dataclass(frozen=True)
class MomentParts:
    """Count, sum and squares of several groups, or as many draws of the noise of each; without their weights."""

    counts: Floats
    sums: Floats
    squares: Floats


def variance_intervals(
    noisy: MomentParts,
    draws: MomentParts,
    bounds: tuple[float, float],
    *,
    sample: bool,
    root: bool,
) -> list[Interval]:
    """For each group one interval, of the variance or (`root`) the standard deviation; `bounds` are those of the centred values.

    The true variance v and mean m of n ≥ 1 values obey T = n·(v + (m - c)²) for T = Q - 2cS + c²n and every c. So v lies between the
    ends of T/n, which noisy numbers are asked about as a ratio, less what (m - c)² can be for m in its own interval.
    """
    counts, sums, squares = noisy.counts, noisy.sums, noisy.squares
    low, high = bounds
    widest = high - low
    first, last = inverted(sums, counts, draws.sums, draws.counts, np.linspace(low, high, CANDIDATES), _SURE)
    about = np.linspace(low, high, _MEANS)
    means = np.clip(sums / np.maximum(counts, 1.0), low, high)
    nearest = np.abs(about[None, :] - means[:, None]).argmin(axis=1)
    lows, highs = np.zeros(len(counts)), np.zeros(len(counts))
    for place in np.unique(nearest):
        some, c = nearest == place, float(about[place])
        top = squares[some] - 2 * c * sums[some] + c**2 * counts[some]
        top_draws = draws.squares - 2 * c * draws.sums + c**2 * draws.counts
        ratios = max(high - c, c - low) ** 2 * np.linspace(0, 1, CANDIDATES) ** 2
        least, most = inverted(top, counts[some], top_draws, draws.counts, ratios, _RATIO)
        ends = np.stack([(first[some] - c) ** 2, (last[some] - c) ** 2])
        inside = (first[some] <= c) & (c <= last[some])
        lows[some] = least - ends.max(axis=0)
        highs[some] = most - np.where(inside, 0.0, ends.min(axis=0))
    limit = widest**2 / 4
    lows, highs = np.clip(lows, 0.0, limit), np.clip(highs, 0.0, limit)
    if sample:
        reach = float(np.quantile(np.abs(draws.counts), _SURE, method="higher"))
        fewest, many = np.maximum(counts - reach, 2.0), np.maximum(counts + reach, 2.0)
        lows, highs = lows * many / (many - 1), highs * fewest / (fewest - 1)
    errors = _errors(noisy, draws, widest, sample=sample, root=root)
    released = _variances(noisy, widest, sample=sample)
    lows, highs = np.minimum(lows, released), np.maximum(highs, released)
    if root:
        lows, highs = np.sqrt(lows), np.sqrt(highs)
    return [Interval(*map(float, cell)) for cell in zip(errors, lows, highs, strict=True)]


def _variances(parts: MomentParts, widest: float, *, sample: bool) -> Floats:
    """As `moments.variance`, in floats: information for people."""
    values = np.maximum(parts.counts, 2.0 if sample else 1.0)
    found = parts.squares / values - (parts.sums / values) ** 2
    if sample:
        found = found * values / (values - 1)
    return np.asarray(np.clip(found, 0.0, widest**2 / (2 if sample else 4)))


def _errors(noisy: MomentParts, draws: MomentParts, widest: float, *, sample: bool, root: bool) -> Floats:
    """The spread of the whole release function, simulated at the noisy values."""
    found = [np.zeros(0)]
    for start in range(0, len(noisy.counts), _CHUNK):
        again = MomentParts(
            *(
                each[start : start + _CHUNK, None] + drawn[:_ERROR_DRAWS]
                for each, drawn in (
                    (noisy.counts, draws.counts),
                    (noisy.sums, draws.sums),
                    (noisy.squares, draws.squares),
                )
            )
        )
        spread = _variances(again, widest, sample=sample)
        found.append((np.sqrt(spread) if root else spread).std(axis=1))
    return np.concatenate(found)
