"""95 % intervals of variances, quantiles and quotients hold the number without noise in at least 93 of 100 releases (design R19)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from privacy.histogram import Bins, Tree
from privacy.intervals import CANDIDATES, INTERVAL_DRAWS, inverted, simulated_noise
from privacy.mechanisms import Noise, NoiseKind
from privacy.moments import Moments
from privacy.quantile_intervals import quantile_intervals
from privacy.variance_intervals import MomentParts, variance_intervals
from tests.statistical.loss_audit import at_most

PROMISED = 0.93
CELLS = 300
LOW, HIGH, CENTRE = 0, 200, 100
COUNTS = [1, 2, 20, 3000]


def noisy_parts(values, noise, moments):
    """The moments of so many equal groups, each with noise of its own, and draws of that noise; without weights."""
    centred = [value - CENTRE for value in values]
    exact = len(values), sum(centred), sum(value**2 for value in centred)
    generator = np.random.default_rng(len(values))
    cells, draws = [], []
    for total, weight in zip(exact, moments.weights, strict=True):
        cells.append(np.array(noise.draw([total * weight] * CELLS), float) / weight)
        draws.append(simulated_noise(noise, INTERVAL_DRAWS, generator) / weight)
    return MomentParts(*cells), MomentParts(*draws)


def some_values(count, form):
    pick = np.random.default_rng(count)
    if form == "ends":
        return [LOW if at % 2 else HIGH for at in range(count)]
    if form == "equal":
        return [HIGH] * count
    return np.clip(pick.normal(60, 25, count), LOW, HIGH).astype(int).tolist()


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize("form", ["ends", "equal", "bell"])
@pytest.mark.parametrize("count", COUNTS)
def test_the_interval_of_a_variance_holds_it(kind, form, count):
    moments = Moments(HIGH - CENTRE)
    noise = moments.reach(1).noise(kind, 1, Fraction(1, 2))
    values = some_values(count, form)
    noisy, draws = noisy_parts(values, noise, moments)
    for sample in (False, True):
        if sample and count < 2:
            continue
        true = np.var(values, ddof=int(sample))
        for root in (False, True):
            found = variance_intervals(noisy, draws, (LOW - CENTRE, HIGH - CENTRE), sample=sample, root=root)
            wanted = true**0.5 if root else true
            covered = sum(bar.low - 1e-9 <= wanted <= bar.high + 1e-9 for bar in found)
            assert at_most(covered, CELLS, 0.999) >= PROMISED, (sample, root, covered)


@pytest.mark.parametrize("kind", NoiseKind)
def test_well_filled_groups_have_a_narrow_interval_of_their_deviation(kind):
    moments = Moments(HIGH - CENTRE)
    noise = moments.reach(1).noise(kind, 1, Fraction(1, 2))
    noisy, draws = noisy_parts(some_values(3000, "bell"), noise, moments)
    found = variance_intervals(noisy, draws, (LOW - CENTRE, HIGH - CENTRE), sample=False, root=True)
    assert np.median([bar.high - bar.low for bar in found]) < 10
    assert (
        0.3
        < np.median([bar.standard_error for bar in found]) * 4 / np.median([bar.high - bar.low for bar in found])
        < 1.5
    )


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize("rank", [0.005, 0.5, 0.9])
@pytest.mark.parametrize("count", COUNTS)
def test_the_interval_of_a_quantile_holds_it(kind, rank, count):
    bins = Bins(LOW, HIGH, 1)
    tree = Tree(bins.count)
    noise = tree.reach(1).noise(kind, 1, Fraction(1, 2))
    generator = np.random.default_rng(count)
    for form in ("ends", "equal", "bell"):
        values = some_values(count, form)
        exact = tree.spread(np.bincount(values, minlength=bins.count)[None, :])[0].tolist()
        nodes = np.array([noise.draw(exact) for _ in range(CELLS // 3)])
        found = quantile_intervals(nodes, tree, bins, rank, noise, generator)
        wanted = np.quantile(values, rank)
        covered = sum(bar.low <= wanted <= bar.high for bar in found)
        assert at_most(covered, CELLS // 3, 0.999) >= PROMISED, (form, covered)


@pytest.mark.parametrize("kind", NoiseKind)
def test_well_filled_groups_have_a_narrow_interval_of_their_median(kind):
    bins = Bins(LOW, HIGH, 1)
    tree = Tree(bins.count)
    noise = tree.reach(1).noise(kind, 1, Fraction(1, 2))
    exact = tree.spread(np.bincount(some_values(3000, "bell"), minlength=bins.count)[None, :])[0].tolist()
    nodes = np.array([noise.draw(exact) for _ in range(100)])
    found = quantile_intervals(nodes, tree, bins, 0.5, noise, np.random.default_rng(1))
    assert np.median([bar.high - bar.low for bar in found]) < 10


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize(("top", "bottom"), [(0, 1), (1, 1), (-300, 7), (40_000, 20), (90_000, 3_000), (5, -400)])
def test_the_interval_of_a_quotient_of_any_size_holds_it(kind, top, bottom):
    """Ratios are asked about from -1000 to 1000 times that of the noises; where none bounds them there is no interval."""
    noises = [Noise(kind, Fraction(scale), 1, 1, 1, 1) for scale in (500, 5)]
    generator = np.random.default_rng(3)
    draws = [simulated_noise(noise, INTERVAL_DRAWS, generator) for noise in noises]
    values = [np.array(noise.draw([x] * CELLS), float) for noise, x in zip(noises, (top, bottom), strict=True)]
    ratios = 100 * np.tan(np.linspace(0.001 - np.pi / 2, np.pi / 2 - 0.001, CANDIDATES))
    lows, highs = inverted(*values, *draws, ratios, 0.95)
    unbounded = (lows <= ratios[0]) | (highs >= ratios[-1])
    covered = int((unbounded | ((lows <= top / bottom) & (top / bottom <= highs))).sum())
    assert at_most(covered, CELLS, 0.999) >= PROMISED
    if abs(bottom) > 100:
        assert not unbounded.any()
