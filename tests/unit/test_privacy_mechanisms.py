"""Noise is as small as its price allows, never smaller; every input is checked; records rebuild the same mechanism."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.canonical import canonical
from core.errors import Invalid
from core.units import text_of
from privacy.mechanisms import LARGEST_VALUE, Noise, NoiseKind
from privacy.scales import LAST_INDEX, index_near, scale_at, smallest
from privacy.tails import half_width_of, standard_error_of
from privacy.thresholds import KeyThreshold

LAPLACE, GAUSSIAN = NoiseKind.LAPLACE, NoiseKind.GAUSSIAN
kinds = st.sampled_from(NoiseKind)
shares = st.fractions(min_value=Fraction(1, 10**4), max_value=10, max_denominator=10**6)
grid_scales = st.integers(0, LAST_INDEX).map(scale_at)


@st.composite
def sensitivities(draw):
    l0, linf = draw(st.integers(1, 1000)), draw(st.integers(1, 10**9))
    return {"l0": l0, "l1": l0 * linf, "l2_squared": l0 * linf**2, "linf": linf}


def noise(kind, scale, l0=1, linf=1):
    return Noise(kind, Fraction(scale), l0, l0 * linf, l0 * linf**2, linf)


def exact_price(found: Noise) -> Fraction:
    return found.l1 / found.scale if found.kind is LAPLACE else found.l2_squared / (2 * found.scale**2)


# --- fitting and price


@given(kinds, sensitivities(), shares)
@settings(max_examples=60)
def test_fitted_noise_costs_no_more_than_its_share_and_the_next_smaller_would(kind, bounds, share):
    found = Noise.fit(kind, **bounds, share=share)
    assert found.price <= share
    if found.scale > 1:
        smaller = scale_at(index_near(float(found.scale)) - 1)
        assert smaller < found.scale
        assert Noise(kind, smaller, **bounds).price > share


@given(kinds, sensitivities(), grid_scales)
def test_the_price_is_that_of_the_noise_rounded_up(kind, bounds, scale):
    found = Noise(kind, scale, **bounds)
    assert exact_price(found) <= found.price <= exact_price(found) * (1 + Fraction(1, 10**12))


@given(kinds, sensitivities(), st.integers(0, LAST_INDEX - 1), st.integers(1, 100))
def test_less_noise_is_never_cheaper(kind, bounds, index, step):
    """Peer fault T08: the price falls strictly as the scale grows."""
    wider = Noise(kind, scale_at(min(index + step, LAST_INDEX)), **bounds)
    assert wider.price < Noise(kind, scale_at(index), **bounds).price


@given(kinds, sensitivities(), grid_scales)
def test_touching_more_is_never_cheaper(kind, bounds, scale):
    more = {"l0": bounds["l0"] + 1, "linf": bounds["linf"]}
    more |= {"l1": more["l0"] * more["linf"], "l2_squared": more["l0"] * more["linf"] ** 2}
    assert Noise(kind, scale, **bounds).price < Noise(kind, scale, **more).price


def test_noise_never_falls_below_one_step_of_the_grid_however_much_is_paid():
    """Peer fault T06: at a great ε the noise would all but surely be 0, which shows the exact number."""
    for kind in NoiseKind:
        found = Noise.fit(kind, l0=1, l1=1, l2_squared=1, linf=1, share=Fraction(50))
        assert found.scale == 1
        assert found.price <= 1
        assert len({tuple(found.draw([3, 0, 1])) for _ in range(20)}) > 1


@pytest.mark.parametrize("share", [Fraction(0), Fraction(-1)])
def test_a_share_of_nothing_is_an_error(share):
    with pytest.raises(ValueError, match="above 0"):
        Noise.fit(LAPLACE, l0=1, l1=1, l2_squared=1, linf=1, share=share)


@pytest.mark.parametrize("scale", [0, -1, Fraction(1, 2), Fraction(4, 3), 2**57])
def test_a_scale_that_hides_nothing_or_is_no_float_is_an_error(scale):
    """OpenDP accepts a scale of 0, and then returns the exact values."""
    with pytest.raises(ValueError, match="scale"):
        noise(LAPLACE, scale)
    with pytest.raises(ValueError, match="scale"):
        KeyThreshold(LAPLACE, 1, Fraction(scale), 100)


@pytest.mark.parametrize(
    ("l0", "l1", "l2_squared", "linf"),
    [
        (0, 1, 1, 1),
        (1, 0, 1, 1),
        (2, 1, 4, 2),
        (2, 5, 8, 2),
        (2, 4, 9, 2),
        (2, 4, 3, 2),
        (1, 1, 1, 0),
        (1.0, 1, 1, 1),
        (1, True, 1, 1),
    ],
)
def test_sensitivities_that_contradict_each_other_are_an_error(l0, l1, l2_squared, linf):
    with pytest.raises(ValueError, match=r"group|contradict|integers"):
        Noise(LAPLACE, Fraction(10), l0, l1, l2_squared, linf)


def test_the_greatest_sensitivity_is_handled_or_refused_in_plain_words():
    bounds = {"l0": 1, "l1": 2**62, "l2_squared": 2**124, "linf": 2**62}
    for kind in NoiseKind:
        assert Noise.fit(kind, **bounds, share=Fraction(100 if kind is LAPLACE else 10**4)).scale <= 2**56
        with pytest.raises(Invalid) as refusal:
            Noise.fit(kind, **bounds, share=Fraction(1))
        assert refusal.value.code == "plan.sensitivity_too_large"
        assert refusal.value.way_out
    with pytest.raises(Invalid) as refusal:
        Noise.fit(LAPLACE, l0=2, l1=2**63, l2_squared=2**125, linf=2**62, share=Fraction(100))
    assert refusal.value.code == "plan.sensitivity_too_large"


# --- drawing


@pytest.mark.parametrize("kind", NoiseKind)
def test_values_beyond_the_claim_are_clamped_before_noise(kind):
    low, middle, high, huge = noise(kind, 4).draw([-(2**63), 7, 2**63 - 1, 10**40])
    assert abs(low + LARGEST_VALUE) < 1000
    assert abs(middle - 7) < 1000
    assert abs(high - LARGEST_VALUE) < 1000
    assert abs(huge - LARGEST_VALUE) < 1000


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf"), True, None, "1", np.int64(1)])
def test_only_integers_are_given_noise(kind, value):
    with pytest.raises(TypeError):
        noise(kind, 4).draw([1, value])


@pytest.mark.parametrize("kind", NoiseKind)
def test_the_length_comes_back_as_it_was(kind):
    assert noise(kind, 4).draw([]) == []
    drawn = noise(kind, 4).draw([0] * 1000)
    assert len(drawn) == 1000
    assert all(type(value) is int for value in drawn)


@pytest.mark.parametrize("kind", NoiseKind)
def test_every_draw_is_fresh(kind):
    wide = noise(kind, 2**40)
    assert len({tuple(wide.draw([0, 0])) for _ in range(50)}) == 50


def test_forked_processes_do_not_share_noise():
    """A random generator whose state is copied by fork would give two releases the same noise."""
    wide = noise(LAPLACE, 2**40)
    wide.draw([0])
    reader, writer = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.write(writer, f"{wide.draw([0] * 4)}\n".encode())
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        drawn = [*lines.read().splitlines(), str(wide.draw([0] * 4))]
    assert len(set(drawn)) == 3


# --- thresholds


@given(kinds, st.integers(1, 500), shares, st.integers(3, 12).map(lambda power: Fraction(1, 10**power)))
@settings(max_examples=60)
def test_a_fitted_threshold_keeps_both_claims_and_is_the_lowest(kind, l0, share, delta):
    found = KeyThreshold.fit(kind, l0, share, delta)
    assert found.price <= share
    assert found.delta <= delta
    if found.threshold > 2:
        assert KeyThreshold(kind, l0, found.scale, found.threshold - 1).delta > delta


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 10**17)])
def test_a_delta_that_opendp_cannot_state_is_refused(kind, delta):
    with pytest.raises(Invalid) as refusal:
        KeyThreshold.fit(kind, 5, Fraction(1), delta)
    assert refusal.value.code == "delta.too_small"


@given(kinds, st.integers(1, 200), st.integers(0, 8 * 2048).map(scale_at), st.integers(2, 10**6))
def test_delta_covers_the_chance_of_one_unit_exceeding_the_threshold(kind, l0, scale, threshold):
    """1 + noise > threshold in any of l0 keys; the tail is computed here apart from OpenDP (for Gaussian from below)."""
    width = float(scale)
    if kind is LAPLACE:
        ratio = math.exp(-1 / width)
        one = math.exp(-threshold / width) / (1 + ratio)
    else:
        span = np.arange(threshold, threshold + math.ceil(width))
        one = float(np.exp(-(span**2.0) / (2 * width**2)).sum()) / (width * math.sqrt(2 * math.pi) + 1)
    any_of_them = -math.expm1(l0 * math.log1p(-one))
    assert KeyThreshold(kind, l0, scale, threshold).delta >= Fraction(any_of_them * (1 - 1e-9))


@pytest.mark.parametrize("kind", NoiseKind)
def test_a_key_of_one_unit_is_not_shown_and_one_of_many_is(kind):
    """Peer fault T07: 1,000 rows "Li", one row "Zyx"; 200 releases never show "Zyx"."""
    rule = KeyThreshold.fit(kind, 2, Fraction(1, 2), Fraction(1, 10**9))
    for _ in range(200):
        assert set(rule.select({b"Li": 1000, b"Zyx": 1})) == {b"Li"}


@pytest.mark.parametrize("kind", NoiseKind)
def test_what_is_shown_lies_strictly_above_the_threshold(kind):
    rule = KeyThreshold(kind, 1, Fraction(4), 20)
    shown = rule.select({index.to_bytes(2, "big"): 20 for index in range(3000)})
    assert 0 < len(shown) < 3000
    assert min(shown.values()) == 21


@pytest.mark.parametrize("kind", NoiseKind)
def test_a_key_without_units_is_no_key(kind):
    """OpenDP would show a key that is there with a count of 0, and not one that is absent: a difference of distance 0."""
    rule = KeyThreshold(kind, 1, Fraction(100), 2)
    assert rule.select({index.to_bytes(2, "big"): -(index % 2) for index in range(1000)}) == {}
    assert rule.select({}) == {}


@pytest.mark.parametrize("kind", NoiseKind)
def test_keys_are_bytes_of_any_kind_and_come_back_in_order(kind):
    """OpenDP cuts a text key at its first NUL, which would merge two groups."""
    keys = [b"", b"\0", b"a", b"a\0b", b"a\0c", "ü".encode(), b"\xff\xfe", b"z" * 500]
    shown = KeyThreshold(kind, 1, Fraction(1), 20).select({key: 1000 + place * 100 for place, key in enumerate(keys)})
    assert list(shown) == sorted(keys)
    assert all(abs(shown[key] - 1000 - place * 100) < 50 for place, key in enumerate(keys))


@pytest.mark.parametrize("counts", [{"a": 100}, {b"a": 1.5}, {b"a": True}, {b"a": float("nan")}])
def test_only_bytes_and_integers_are_selected_from(counts):
    with pytest.raises(TypeError):
        KeyThreshold(LAPLACE, 1, Fraction(1), 20).select(counts)


@pytest.mark.parametrize("threshold", [1, 0, -5, 2.5, 2**62])
def test_a_threshold_that_one_unit_reaches_alone_is_an_error(threshold):
    with pytest.raises(ValueError, match="threshold"):
        KeyThreshold(LAPLACE, 1, Fraction(1), threshold)


# --- records


@given(kinds, sensitivities(), grid_scales)
def test_a_noise_record_survives_its_json(kind, bounds, scale):
    record = Noise(kind, scale, **bounds)
    assert Noise.from_json(record.to_json()) == record
    canonical(record.to_json())


@given(kinds, st.integers(1, 1000), grid_scales, st.integers(2, 2**61))
def test_a_threshold_record_survives_its_json(kind, l0, scale, threshold):
    record = KeyThreshold(kind, l0, scale, threshold)
    assert KeyThreshold.from_json(record.to_json()) == record
    canonical(record.to_json())


def test_a_rebuilt_record_has_the_same_price():
    fitted = Noise.fit(GAUSSIAN, l0=7, l1=70, l2_squared=700, linf=10, share=Fraction(1, 3))
    assert Noise.from_json(fitted.to_json()).price == fitted.price
    rule = KeyThreshold.fit(GAUSSIAN, 7, Fraction(1, 3), Fraction(1, 10**8))
    rebuilt = KeyThreshold.from_json(rule.to_json())
    assert (rebuilt.price, rebuilt.delta) == (rule.price, rule.delta)


@pytest.mark.parametrize(
    ("field", "value"),
    [("scale", "0"), ("scale", "nan"), ("scale", "1/3"), ("l0", "0"), ("l1", "x"), ("kind", "uniform"), ("extra", "1")],
)
def test_a_tampered_record_is_refused(field, value):
    with pytest.raises(ValueError, match=r"."):
        Noise.from_json(noise(LAPLACE, 4, l0=2).to_json() | {field: value})


# --- the grid and the tails


@given(st.integers(0, LAST_INDEX - 1))
def test_grid_scales_grow_in_small_steps_and_are_floats(index):
    here, above = scale_at(index), scale_at(index + 1)
    assert here < above <= here * Fraction(2049, 2048)
    assert Fraction(float(here)) == here
    assert index_near(float(here)) == index
    assert Fraction(text_of(here)) == here


@given(st.integers(-50, 300), st.integers(0, 250), st.integers(0, 250))
def test_the_search_finds_the_smallest_from_any_guess(guess, first_good, high):
    asked = []

    def accepts(number):
        asked.append(number)
        return number >= first_good

    found = smallest(accepts, guess, 0, high)
    assert found == (first_good if first_good <= high else None)
    assert all(0 <= number <= high for number in asked)


def discrete_weights(kind, scale):
    span = np.arange(-int(60 * scale) - 5, int(60 * scale) + 6, dtype=float)
    weights = np.exp(-np.abs(span) / scale if kind is LAPLACE else -(span**2) / (2 * scale**2))
    return span, weights / weights.sum()


@pytest.mark.parametrize("kind", NoiseKind)
@pytest.mark.parametrize("scale", [1, 1.5, 3.25, 20, 283.5])
def test_standard_error_and_half_width_are_those_of_the_discrete_noise(kind, scale):
    span, weights = discrete_weights(kind, scale)
    spread = math.sqrt(float((weights * span**2).sum()))
    assert spread * (1 - 1e-9) <= standard_error_of(kind, Fraction(scale)) <= spread * (1 + 1e-6)
    for probability in (0.5, 0.9, 0.95, 0.999):
        width = half_width_of(kind, Fraction(scale), probability)
        assert weights[np.abs(span) <= width].sum() >= probability
        too_narrow = width - 1 if kind is LAPLACE else width - 2
        assert weights[np.abs(span) <= too_narrow].sum() < probability


@pytest.mark.parametrize("kind", NoiseKind)
def test_noise_has_the_spread_that_it_tells(kind):
    record = noise(kind, 20)
    drawn = np.array(record.draw([0] * 20_000))
    assert abs(drawn.std() / record.standard_error - 1) < 0.06
    assert 0.94 < float((np.abs(drawn) <= record.half_width(0.95)).mean()) < 0.965


@pytest.mark.parametrize("probability", [0, 1, -1, 2])
def test_a_half_width_needs_a_probability(probability):
    with pytest.raises(ValueError, match="probability"):
        half_width_of(LAPLACE, Fraction(1), probability)
