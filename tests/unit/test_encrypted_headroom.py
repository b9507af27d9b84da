"""Totals and noise stay where a profile's numbers are exact: tails against the distributions themselves, totals against real ciphertexts."""

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest

from privacy.encrypted import bfv
from privacy.encrypted.headroom import TAIL_BITS, fits, guard, largest_total, tail
from privacy.encrypted.mask import mask
from privacy.encrypted.profiles import profile_named
from privacy.encrypted.sums import add
from privacy.encrypted.terms import Bounded
from privacy.mechanisms import Noise
from privacy.schema import EXCESS
from privacy.tails import NoiseKind
from tests.unit.encrypted_world import decryptor, pair, terms

SUM34 = profile_named("sum34")
SMALL = {"profile": "sum34", "squares": (), "least_squares": None, "totals": (Bounded("cost", 0, -1000, 900),)}


def noise(kind, scale):
    return Noise(kind, Fraction(scale), 1, 1, 1, 1)


def beyond(kind, scale, width):
    """P(|X| > width) of the discrete distribution, in 60 digits."""
    with localcontext() as context:
        context.prec = 60
        scale = Decimal(float(scale))
        if kind is NoiseKind.LAPLACE:
            ratio = (-1 / scale).exp()
            return 2 * ratio ** (width + 1) / (1 + ratio)
        weight = lambda value: (-(Decimal(value) ** 2) / (2 * scale**2)).exp()  # noqa: E731
        inside = sum(weight(value) for value in range(1, width + 1))
        outside = sum(weight(value) for value in range(width + 1, width + 1 + int(20 * scale) + 20))
        return 2 * outside / (1 + 2 * inside + 2 * outside)


@pytest.mark.parametrize("length", [1, 3, 10_000])
@pytest.mark.parametrize("kind", list(NoiseKind))
@pytest.mark.parametrize("scale", [1, Fraction(3, 2), 7, 100])
def test_no_entry_of_a_vector_is_beyond_its_tail_but_once_in_2_to_the_64(kind, scale, length):
    found = noise(kind, scale)
    width = tail(found, length)
    assert length * beyond(kind, scale, width) <= Decimal(2) ** -TAIL_BITS
    if scale == 100:  # and it is not much wider than it must be
        assert length * beyond(kind, scale, width * 95 // 100) > Decimal(2) ** -TAIL_BITS


@pytest.mark.parametrize(("kind", "widths"), [(NoiseKind.LAPLACE, 56.2), (NoiseKind.GAUSSIAN, 10.7)])
def test_tails_of_the_largest_noise_are_so_many_scales(kind, widths):
    assert tail(noise(kind, 2**50), 65_536) == pytest.approx(widths * 2**50, rel=0.01)


def test_the_largest_total_has_every_unit_that_may_be_there_in_one_group():
    said = [terms(f"hospital-{at}", units=units, **SMALL) for at, units in (("a", 10), ("b", 1000))]
    assert largest_total(said, "units") == EXCESS * 1010
    assert largest_total(said, "sum:cost") == EXCESS * 1010 * 1000
    assert largest_total([terms(units=3)], "square:cost") == EXCESS * 3 * 50_000**2
    assert largest_total([terms(units=3)], "gram") == EXCESS * 3 * 2**20


def test_guard_and_range_count_each_noise():
    said = [terms(units=10, **SMALL)]
    drawn = noise(NoiseKind.LAPLACE, 50)
    assert guard(said, "sum:cost", drawn) == 10 * EXCESS * 1000 + tail(drawn, 3)


def most_units(drawn):
    """The most units with which it still fits, found by halving."""
    low, above = 1, 10**9
    while above - low > 1:
        middle = (low + above) // 2
        fitting = fits(SUM34, [terms(units=middle, **SMALL)], "sum:cost", drawn)
        low, above = (middle, above) if fitting else (low, middle)
    return low


@pytest.mark.parametrize("kind", list(NoiseKind))
def test_one_unit_more_than_fits_does_not_fit(kind):
    drawn = noise(kind, 2**20)
    most, beside = most_units(drawn), 2 * tail(drawn, 3)
    assert EXCESS * most * 1000 + beside < SUM34.span // 2 <= EXCESS * (most + 1) * 1000 + beside


def test_the_end_itself_is_not_within():
    drawn, said = noise(NoiseKind.LAPLACE, 50), [terms(units=10, **SMALL)]
    most = 10 * EXCESS * 1000 + 2 * tail(drawn, 3)
    assert not fits(replace(SUM34, plain=(2 * most + 1,)), said, "sum:cost", drawn)
    assert fits(replace(SUM34, plain=(2 * most + 3,)), said, "sum:cost", drawn)


def test_noise_alone_may_be_too_much():
    said = [terms(units=1, **SMALL)]
    assert fits(SUM34, said, "units", noise(NoiseKind.GAUSSIAN, 2**27))
    assert not fits(SUM34, said, "units", noise(NoiseKind.GAUSSIAN, 2**30))


def test_what_fits_is_decrypted_exactly_and_what_does_not_may_wrap():
    drawn = noise(NoiseKind.LAPLACE, 2**20)
    most, public = most_units(drawn), pair("sum34").public
    one = EXCESS * most * 1000 // 4

    def decrypted(totals, noises):
        chunks = [bfv.encrypt(public, SUM34, [value, -value] + [0] * (SUM34.slots - 2)) for value in totals]
        return decryptor("sum34").decrypt(add(SUM34, [*chunks, mask(public, SUM34, noises)]))[:2]

    most_noise = 2 * tail(drawn, 3)
    assert decrypted([one] * 4, [most_noise, -most_noise]) == [4 * one + most_noise, -4 * one - most_noise]
    over = most_noise + EXCESS * 1000
    assert decrypted([one] * 4, [over, -over]) == [4 * one + over - SUM34.span, SUM34.span - 4 * one - over]
