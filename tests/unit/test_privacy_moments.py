"""Variances from noisy moments: what a unit can change, what it costs, and that noise cannot make them fail."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations_with_replacement, product

import pytest

from core.errors import Invalid
from privacy.mechanisms import NoiseKind
from privacy.moments import Moments, variance
from privacy.reach import plain


def parts(values, centre, cap):
    """What a unit with these values adds to a group."""
    count = len(values)
    sums = [sum((value - centre) ** power for value in values) for power in (1, 2)]
    return (min(count, cap), *(total if count <= cap else total * cap // count for total in sums))


@pytest.mark.parametrize(("low", "high"), [(-3, 2), (0, 0), (5, 6), (-1, 4)])
@pytest.mark.parametrize("cap", [1, 2, 3])
def test_no_unit_moves_more_than_is_claimed_and_some_unit_moves_all_of_it(low, high, cap):
    centre = (low + high) // 2
    moments = Moments(max(1, abs(low - centre), abs(high - centre)))
    claimed, widest = moments.reach(cap), [0] * 3
    for size in range(1, 6):
        for values in combinations_with_replacement(range(low, high + 1), size):
            moved = [
                abs(part * weight) for part, weight in zip(parts(values, centre, cap), moments.weights, strict=True)
            ]
            assert max(moved) <= claimed.linf
            assert sum(moved) <= claimed.l1
            assert sum(each**2 for each in moved) <= claimed.l2_squared
            assert sum(map(bool, moved)) <= claimed.entries
            widest = list(map(max, widest, moved))
    if low < high:
        assert widest == [claimed.linf] * 3


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize(("groups", "most", "cap"), [(1, 1, 1), (3, 7, 5), (100, 10**6, 10)])
def test_the_price_is_opendps_and_within_the_share(kind, groups, most, cap):
    share = Fraction(1, 3)
    reach = Moments(most).reach(cap)
    noise = reach.noise(kind, groups, share)
    assert Fraction(99, 100) * share < noise.price <= share
    bound = Fraction(groups * 3 * cap * most**2)
    if kind is NoiseKind.LAPLACE:
        assert noise.price >= bound / noise.scale
    else:
        assert noise.price >= bound * cap * most**2 / noise.scale**2 / 2


def test_what_no_noise_can_hide_is_refused_and_what_cannot_change_has_noise():
    with pytest.raises(Invalid) as error:
        Moments(2**31).reach(10).noise(NoiseKind.LAPLACE, 10, Fraction(1))
    assert error.value.code == "plan.sensitivity_too_large"
    assert plain(0).noise(NoiseKind.LAPLACE, 1, Fraction(10)).scale >= 1


def test_without_noise_it_is_the_variance():
    values = [3, 5, 5, 10, -4]
    for centre in (0, 3):
        n, s, q = (Fraction(part) for part in parts(values, centre, 9))
        mean = Fraction(sum(values), 5)
        spread = sum((value - mean) ** 2 for value in values)
        assert variance(n, s, q, 14, sample=False) == spread / 5
        assert variance(n, s, q, 14, sample=True) == spread / 4


def test_it_is_a_number_within_its_range_whatever_noise_does():
    odd = [Fraction(part, 7) for part in (-(10**20), -7, -1, 0, 1, 7, 13, 14, 15, 10**20)]
    for n, s, q in product(odd, repeat=3):
        assert 0 <= variance(n, s, q, 10, sample=False) <= 25
        assert 0 <= variance(n, s, q, 10, sample=True) <= 50
