"""Quantiles from noisy bins: what a unit can change, what it costs, and how near they come."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations_with_replacement, product

import numpy as np
import opendp.transformations
import pytest

from privacy.histogram import Bins, Tree, quantiles
from privacy.mechanisms import NoiseKind


def counts(values, bins, cap):
    """What a unit with these values adds to the bins of a group."""
    found = [0] * bins.count
    for value in values:
        found[(min(max(value, bins.low), bins.high) - bins.low) // bins.step] += 1
    return found if len(values) <= cap else [count * cap // len(values) for count in found]


@pytest.fixture
def small(monkeypatch):
    """Trees of two levels over few bins."""
    monkeypatch.setattr("privacy.histogram._FLAT", 2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("cap", [1, 2, 3])
@pytest.mark.parametrize(("high", "step"), [(1, 1), (4, 1), (4, 2), (8, 2), (6, 1)])
def test_no_unit_moves_more_than_is_claimed_and_some_unit_moves_all_of_it(high, step, cap):
    bins = Bins(0, high, step)
    tree = Tree(bins.count)
    claimed, widest = tree.reach(cap), [0] * 4
    for size in range(1, 6):
        for values in combinations_with_replacement(range(high + 1), size):
            moved = tree.spread(np.array([counts(values, bins, cap)]))[0].tolist()
            assert min(moved) >= 0
            found = [max(moved), sum(moved), sum(each**2 for each in moved), sum(map(bool, moved))]
            widest = list(map(max, widest, found))
    assert widest[:3] == [claimed.linf, claimed.l1, claimed.l2_squared]
    assert widest[3] <= claimed.entries


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize(("leaves", "levels"), [(1, 1), (64, 1), (65, 2), (1024, 2)])
def test_the_price_is_opendps_and_within_the_share(kind, leaves, levels):
    share, groups, cap = Fraction(1, 7), 5, 3
    tree = Tree(leaves)
    noise = tree.reach(cap).noise(kind, groups, share)
    assert tree.levels == levels
    assert Fraction(99, 100) * share < noise.price <= share
    if kind is NoiseKind.LAPLACE:
        assert noise.price >= groups * cap * levels / noise.scale
    else:
        assert noise.price >= groups * cap**2 * levels / noise.scale**2 / 2


@pytest.mark.parametrize("leaves", [1, 2, 64, 65, 100, 1000, 1024])
def test_nodes_are_sums_of_bins_and_consistency_changes_no_true_count(leaves):
    tree = Tree(leaves)
    bins = np.random.default_rng(leaves).integers(0, 50, (3, leaves))
    nodes = tree.spread(bins)
    assert nodes.shape == (3, tree.nodes)
    assert (nodes[:, tree.upper :] == bins).all()
    assert nodes[:, : tree.upper].sum() == (bins.sum() if tree.upper else 0)
    assert np.allclose(tree.consistent(nodes), bins)


def test_hostile_counts_do_not_wrap():
    nodes = Tree(1024).spread(np.full((1, 1024), 2**62 - 1))
    assert nodes.min() == 2**52
    assert nodes.max() == 32 * 2**52
    assert Tree(2).spread(np.array([[-5, 3]])).tolist() == [[0, 3]]


@pytest.mark.usefixtures("small")
def test_it_is_the_consistency_of_opendp():
    """One upper node over all bins is a tree of OpenDP's; two of them are two."""
    generator = np.random.default_rng(1)
    tree = Tree(4)
    nodes = generator.integers(-20, 90, (5, tree.nodes))
    for row, found in zip(nodes, tree.consistent(nodes), strict=True):
        for half in (0, 1):
            same = opendp.transformations.make_consistent_b_ary_tree(2)
            leaves = row[2 + 2 * half : 4 + 2 * half].tolist()
            assert np.allclose(same([int(row[half]), *leaves]), found[2 * half : 2 * half + 2])


def test_quantiles_of_exact_bins_are_within_a_bin():
    generator = np.random.default_rng(2)
    for low, high, most in ((0, 999, 1024), (-500, 70_000, 1024), (0, 9, 4), (3, 3, 5)):
        bins = Bins.over(low, high, most)
        assert bins.count <= most
        values = np.sort(generator.integers(low, high + 1, 999))
        held = np.bincount((values - low) // bins.step, minlength=bins.count)[None, :].astype(float)
        for rank in (0.0, 0.005, 0.25, 0.5, 0.9, 1.0):
            exact = values[min(998, int(rank * 999))]
            assert abs(quantiles(held, bins, rank)[0] - exact) <= bins.step + (values[-1] - low) / 300


def test_a_bin_of_one_number_is_that_number():
    bins = Bins(10, 12, 1)
    held = np.array([[1.0, 1.0, 8.0], [5.0, 5.0, 0.0]])
    assert quantiles(held, bins, 0.5).tolist() == [12.0, 10.0]


def test_it_lies_within_the_ends_whatever_noise_does():
    for sizes in product((-3.0, 0.0, 2.0, 1e19), repeat=4):
        for rank in (0.0, 0.5, 1.0):
            assert -7 <= quantiles(np.array([sizes]), Bins(-7, 30, 10), rank)[0] <= 30


@pytest.mark.parametrize("rank", [0.1, 0.5, 0.9])
def test_noise_moves_a_quantile_by_little(rank):
    """100,000 values at ε = 1 over 1,024 bins: within one part in a hundred of the range, on a straight distribution."""
    bins = Bins.over(0, 102_399, 1024)
    tree = Tree(bins.count)
    noise = tree.reach(1).noise(NoiseKind.LAPLACE, 1, Fraction(1))
    held = np.full((1, 1024), 97)
    errors = []
    for _ in range(20):
        noisy = np.array([noise.draw(tree.spread(held)[0].tolist())])
        errors.append(abs(quantiles(tree.consistent(noisy), bins, rank)[0] - rank * 102_400))
    assert max(errors) < 1_024
    assert np.median(errors) < 200


def test_what_is_no_tree_and_no_bins_is_refused():
    for leaves in (0, 1025):
        with pytest.raises(ValueError, match="tree"):
            Tree(leaves)
    for low, high, step in ((1, 0, 1), (0, 10, 0), (0, 1024, 1)):
        with pytest.raises(ValueError, match="bins"):
            Bins(low, high, step)
