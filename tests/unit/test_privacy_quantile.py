"""A private median is as sharp as its price allows; its law is the one that the proof speaks of."""

from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from privacy.quantile import ChoiceKind, Median

PURE, ZCDP = ChoiceKind.PERMUTE_AND_FLIP, ChoiceKind.EXPONENTIAL
kinds = st.sampled_from(ChoiceKind)
shares = st.fractions(min_value=Fraction(1, 10**4), max_value=100, max_denominator=10**6)


def exact_price(median: Median) -> Fraction:
    """A changed answer moves each candidate by at most one rank: a range of 2/scale in the exponent."""
    epsilon = 2 / median.scale
    return epsilon if median.kind is PURE else epsilon**2 / 8


@given(kinds, shares)
@settings(max_examples=40, deadline=None)
def test_it_costs_no_more_than_its_share_and_hardly_less(kind, share):
    found = Median.fit(kind, 1001, share)
    assert share * Fraction(998, 1000) < found.price <= share


@given(kinds, shares)
@settings(max_examples=40, deadline=None)
def test_the_price_is_that_of_one_changed_answer_rounded_up(kind, share):
    """OpenDP prices in answers added or removed; one that changes is two of these (design R12)."""
    found = Median.fit(kind, 1001, share)
    assert exact_price(found) <= found.price <= exact_price(found) * (1 + Fraction(1, 10**12))


@given(kinds, shares, shares)
@settings(max_examples=20, deadline=None)
def test_a_larger_share_is_never_less_sharp(kind, one, other):
    low, high = sorted((one, other))
    assert Median.fit(kind, 1001, high).scale <= Median.fit(kind, 1001, low).scale


@pytest.mark.parametrize("kind", ChoiceKind)
def test_a_share_of_nothing_is_refused(kind):
    with pytest.raises(ValueError, match="above 0"):
        Median.fit(kind, 1001, Fraction(0))
    with pytest.raises(Invalid, match=r"epsilon\.too_small"):
        Median.fit(kind, 1001, Fraction(1, 10**40))


@given(kinds, shares, st.integers(2, 2000))
@settings(max_examples=30, deadline=None)
def test_it_survives_its_json(kind, share, candidates):
    found = Median.fit(kind, candidates, share)
    assert Median.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "change",
    [
        {"scale": "0"},
        {"scale": "1/3"},
        {"scale": "1/128"},
        {"candidates": "1"},
        {"candidates": "65537"},
        {"kind": "laplace"},
        {"more": "1"},
    ],
)
def test_a_record_of_another_mechanism_is_an_error(change):
    stored = Median.fit(PURE, 1001, Fraction(1)).to_json()
    with pytest.raises(ValueError, match=r"."):
        Median.from_json(stored | change)


def test_the_law_is_that_of_the_proof():
    """Two candidates, the worse one half a rank further away: permute-and-flip takes it half as often as e^(-1/2) says, and the
    exponential mechanism with odds of e^(-1/2)."""
    draws, accepted = 5_000, math.exp(-0.5)
    expected = {PURE: accepted / 2, ZCDP: accepted / (1 + accepted)}
    for kind, worse in expected.items():
        drawn = Counter(Median(kind, Fraction(1), 2).draw([0, 0, 1]) for _ in range(draws))
        assert abs(drawn[1] / draws - worse) < 5 * math.sqrt(worse / draws)


def test_a_middle_beyond_doubt_is_found():
    for kind in ChoiceKind:
        assert Median(kind, Fraction(1), 101).draw([37] * 1000) == 37


def test_values_are_clamped_to_the_candidates_and_only_integers_are_taken():
    median = Median(PURE, Fraction(1, 64), 11)
    assert median.draw([99] * 50) == 10
    assert median.draw([-(2**70)] * 50) == 0
    assert median.draw([]) in range(11)
    with pytest.raises(TypeError):
        median.draw([1.0])
