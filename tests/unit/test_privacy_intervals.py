"""Error bars have the promised form at every edge; their coverage is in tests/statistical/test_interval_coverage.py."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.intervals import Interval, plain_interval, ratio_intervals
from privacy.mechanisms import Noise, NoiseKind

SUM_NOISE = {kind: Noise(kind, Fraction(500), 1, 100, 10_000, 100) for kind in NoiseKind}
COUNT_NOISE = {kind: Noise(kind, Fraction(5), 1, 1, 1, 1) for kind in NoiseKind}
kinds = st.sampled_from(NoiseKind)
totals = st.integers(-(2**62), 2**62) | st.integers(-500, 500)


def test_a_count_carries_the_quantile_of_its_own_noise():
    record = COUNT_NOISE[NoiseKind.LAPLACE]
    assert plain_interval(100, record) == Interval(
        record.standard_error, 100 - record.half_width(), 100 + record.half_width()
    )


@given(kinds, st.lists(st.tuples(totals, totals), min_size=1, max_size=5))
@settings(max_examples=40)
def test_a_ratio_interval_is_finite_ordered_within_bounds_and_holds_the_released_value(kind, cells):
    sums, counts = [cell[0] for cell in cells], [cell[1] for cell in cells]
    found = ratio_intervals(sums, counts, SUM_NOISE[kind], COUNT_NOISE[kind], lower=-100, upper=100, seed=1)
    assert len(found) == len(cells)
    for total, count, interval in zip(sums, counts, found, strict=True):
        released = min(max(total / max(count, 1), -100.0), 100.0)
        assert -100 <= interval.low <= released <= interval.high <= 100
        assert math.isfinite(interval.standard_error)
        assert interval.standard_error >= 0


def test_a_well_filled_group_has_a_narrow_interval_and_an_empty_one_says_nothing():
    full, empty = ratio_intervals(
        [600_000, 0], [20_000, 0], SUM_NOISE[NoiseKind.LAPLACE], COUNT_NOISE[NoiseKind.LAPLACE], lower=-100, upper=100
    )
    assert full.low < 30 < full.high
    assert full.high - full.low < 0.5
    assert 0.01 < full.standard_error < 0.1
    assert empty.high - empty.low > 180


def test_cells_do_not_depend_on_their_neighbours_in_the_list():
    """More cells than one chunk: each has the interval that it has alone."""
    record = SUM_NOISE[NoiseKind.GAUSSIAN], COUNT_NOISE[NoiseKind.GAUSSIAN]
    sums, counts = [index * 30 for index in range(1203)], list(range(1203))
    together = ratio_intervals(sums, counts, *record, lower=-100, upper=100, seed=7)
    alone = ratio_intervals(sums[700:701], counts[700:701], *record, lower=-100, upper=100, seed=7)
    assert together[700] == alone[0]
    assert len(together) == 1203


def test_no_cells_no_intervals():
    record = SUM_NOISE[NoiseKind.LAPLACE], COUNT_NOISE[NoiseKind.LAPLACE]
    assert ratio_intervals([], [], *record, lower=0, upper=1) == []


@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))])
def test_bounds_must_be_bounds(lower, upper):
    record = SUM_NOISE[NoiseKind.LAPLACE], COUNT_NOISE[NoiseKind.LAPLACE]
    with pytest.raises(ValueError, match="bounds"):
        ratio_intervals([1], [1], *record, lower=lower, upper=upper)


def test_an_interval_follows_a_change_of_unit():
    assert Interval(2.0, -1.0, 3.0).scaled(0.5, 10) == Interval(1.0, 9.5, 11.5)
