"""Quantiles from noisy histograms: a tree of at most two levels over bins, one noise on all of its nodes, ranks read off afterwards.

Proof: docs/proofs/quantile.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.reach import Reach

MOST_BINS = 1_024
_FLAT = 64  # so few bins are added up with less noise than a second level costs
_LARGEST_BIN = 2**52  # as many values as no plan admits; so many bins of them add up within 2^62

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Whole numbers from `low` to `high` in bins of `step` of them; the last may have fewer."""

    low: int
    high: int
    step: int

    def __post_init__(self) -> None:
        if not self.low <= self.high or self.step < 1 or self.count > MOST_BINS:
            raise ValueError("bins are at most 1,024 parts of an interval")

    @classmethod
    def over(cls, low: int, high: int, most: int) -> Bins:
        """At most so many equal bins over all of the interval."""
        return cls(low, high, -(-(high - low + 1) // min(most, MOST_BINS)))

    @property
    def count(self) -> int:
        """How many bins there are."""
        return (self.high - self.low) // self.step + 1


@dataclass(frozen=True)
class Tree:
    """Nodes over `leaves` bins: the bins themselves and, of many, the sums of `fan` neighbours each, which come first."""

    leaves: int

    def __post_init__(self) -> None:
        if not 1 <= self.leaves <= MOST_BINS:
            raise ValueError("a tree stands over 1 to 1,024 bins")

    @property
    def levels(self) -> int:
        """One, or two."""
        return 1 if self.leaves <= _FLAT else 2

    @property
    def fan(self) -> int:
        """How many bins a node of the upper level has; the last may have fewer."""
        return math.isqrt(self.leaves - 1) + 1

    @property
    def upper(self) -> int:
        """How many nodes the upper level has."""
        return 0 if self.levels == 1 else -(-self.leaves // self.fan)

    @property
    def nodes(self) -> int:
        """How many numbers are given noise for each group."""
        return self.upper + self.leaves

    def reach(self, cap: int) -> Reach:
        """What one unit with at most `cap` counted values changes: cap in all on each level, by one value or by many."""
        entries = min(cap, self.leaves) + min(cap, self.upper)
        return Reach(entries, cap, self.levels * cap, self.levels * cap**2)

    def spread(self, bins: Integers) -> Integers:
        """The nodes, of shape (groups, nodes), from counts of shape (groups, leaves), each first clamped to [0, 2^52]."""
        bins = np.clip(bins, 0, _LARGEST_BIN)
        if self.levels == 1:
            return bins
        return np.concatenate([np.add.reduceat(bins, range(0, self.leaves, self.fan), axis=1), bins], axis=1)

    def consistent(self, nodes: Integers) -> Floats:
        """The bins that fit noisy nodes best (least squares), of shape (groups, leaves).

        An upper node z over b bins with sum Y is best known as (b·z + Y) / (b + 1); its bins share the rest equally. With equal
        noise on all nodes this is the consistency of Hay, Rastogi, Miklau and Suciu (2010), which OpenDP has as
        `make_consistent_b_ary_tree`.
        """
        found = nodes[:, self.upper :].astype(np.float64)
        if self.levels == 1:
            return found
        starts = np.arange(0, self.leaves, self.fan)
        sizes = np.diff(starts, append=self.leaves)
        rest = (nodes[:, : self.upper] - np.add.reduceat(found, starts, axis=1)) / (sizes + 1)
        return np.asarray(found + np.repeat(rest, sizes, axis=1))


def quantiles(counts: Floats, bins: Bins, rank: float) -> Floats:
    """For each group the value below which that share of its values lies, from counts of shape (groups, bins).

    Noisy counts need not be positive, so that their running sums can fall: halfway between the greatest sum so far and the least to
    come is a curve that rises. Where it passes rank times all, a bin is cut in proportion; a bin of one number is that number.
    """
    sums = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
    rising = np.maximum.accumulate(sums, axis=1)
    rising += np.minimum.accumulate(sums[:, ::-1], axis=1)[:, ::-1]
    rising /= 2
    wanted = rank * np.maximum(sums[:, -1:], 1.0)
    at = np.clip((rising < wanted).sum(axis=1) - 1, 0, bins.count - 1)
    rows = np.arange(len(counts))
    before, after = rising[rows, at], rising[rows, at + 1]
    rises = after > before
    part = np.where(rises, (wanted[:, 0] - before) / np.where(rises, after - before, 1.0), 0.5)
    widths = np.minimum(bins.step, bins.high - bins.low + 1 - at * bins.step) - 1
    return np.asarray(bins.low + at * float(bins.step) + np.clip(part, 0.0, 1.0) * widths)
