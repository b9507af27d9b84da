"""Error bars of quantiles, from noisy trees: what the noise alone may have done (design R19; docs/proofs/intervals.md)."""

from __future__ import annotations

import numpy as np

from privacy.histogram import Bins, Integers, Tree, quantiles
from privacy.intervals import CONFIDENCE, Floats, Interval, simulated_noise
from privacy.mechanisms import Noise

_DRAWS = 2_000
_CHUNK = 500
_WIDTHS = 3.92  # a 95 % interval of a normal distribution is so many standard errors wide


def quantile_intervals(
    nodes: Integers, tree: Tree, bins: Bins, rank: float, noise: Noise, generator: np.random.Generator
) -> list[Interval]:
    """For each group one interval for its quantile, from noisy nodes of shape (groups, nodes).

    With F the true running sums and N the number of values, the true quantile lies in a bin j with F(j) - pN ≤ 1 and
    F(j+1) - pN ≥ -1. What the noise adds to F - pN is known, whatever the values are; so the bins stay that noisy sums do not
    contradict, with half of the doubt on either side. The standard error is told from the width.
    """
    beyond = _reach(tree, rank, noise, generator) + 1.0
    found: list[Interval] = []
    edges = np.minimum(bins.low + np.arange(bins.count + 1) * float(bins.step), bins.high + 1.0)
    for start in range(0, len(nodes), _CHUNK):
        counts = tree.consistent(nodes[start : start + _CHUNK])
        released = quantiles(counts, bins, rank)
        excess = _excess(counts, rank)
        may = (excess[:, :-1] <= beyond[:-1]) & (excess[:, 1:] >= -beyond[1:])
        none = ~may.any(axis=1)
        first = np.where(none, 0, may.argmax(axis=1))
        last = np.where(none, bins.count - 1, bins.count - 1 - may[:, ::-1].argmax(axis=1))
        lows, highs = np.minimum(edges[first], released), np.maximum(edges[last + 1] - 1.0, released)
        cells = zip((highs - lows) / _WIDTHS, lows, highs, strict=True)
        found += [Interval(*map(float, cell)) for cell in cells]
    return found


def _excess(counts: Floats, rank: float) -> Floats:
    """Running sums, before each bin and after the last, less rank times all."""
    sums = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
    return np.asarray(sums - rank * sums[:, -1:])


def _reach(tree: Tree, rank: float, noise: Noise, generator: np.random.Generator) -> Floats:
    """How far noise alone moves each of these, in either direction, but for half of what 95 % leave over."""
    drawn = simulated_noise(noise, _DRAWS * tree.nodes, generator).reshape(_DRAWS, tree.nodes)
    moved = _excess(tree.consistent(drawn.astype(np.int64)), rank)
    return np.asarray(np.quantile(np.abs(moved), CONFIDENCE, axis=0, method="higher"))
