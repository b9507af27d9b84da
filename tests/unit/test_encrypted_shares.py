"""Shares of noise: all but one are worth the price in exact arithmetic and no more than that, and a share is read in one form or not at all."""

import base64
import json
import math
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.encrypted.header import Header, signature_holds
from privacy.encrypted.shares import LARGEST_SCALE, LEAST_SCALE, MOST_PARTNERS, Share, TooDear, partners_of, share_scale
from tests.unit.encrypted_world import public_line, signing, terms

# Below the true number, so that what is computed from it is above the true sum.
PI = Decimal("3.14159265358979323846264338327950288")
KEYS = partners_of([public_line(name) for name in ("hospital-a", "hospital-b", "hospital-c")])
SHARE = Share("j-1", KEYS, (("units", Fraction(2)), ("sum:cost", Fraction(12345, 4))))


# The scale


@cache
def tau(scale, honest):
    """At least 10·Σ e^(-2π²·scale²·k/(k+1)) over k = 1 … honest-1, of which the last digits alone are not exact."""
    with localcontext() as context:
        context.prec = 60
        square = (Decimal(scale.numerator) / Decimal(scale.denominator)) ** 2
        found = sum((-2 * PI**2 * square * k / (k + 1)).exp() for k in range(1, honest))
        return Fraction(10 * found * (1 + Decimal("1e-30")))


def cost(l2_squared, scale, length, honest):
    return Fraction(l2_squared) / (2 * honest * scale**2) + tau(scale, honest) * Fraction(length, 4)


def below(scale, steps):
    for _ in range(steps):
        scale = math.nextafter(scale, 0)
    return Fraction(scale)


@pytest.mark.parametrize("providers", [2, 3, 4, 10, 1000])
@pytest.mark.parametrize("length", [1, 3, 100_000])
@pytest.mark.parametrize("l2_squared", [1, 2, 7, 10**9 + 1, 2**80 + 1])
@pytest.mark.parametrize("price", [Fraction(1, 10**6), Fraction(1, 3), Fraction(0.1), Fraction(7), Fraction(10**400)])
def test_all_shares_but_one_are_worth_the_price_and_hardly_more(providers, length, l2_squared, price):
    honest = providers - 1
    scale = share_scale(l2_squared, price, length, providers)
    assert Fraction(float(scale)) == scale
    assert LEAST_SCALE <= scale <= LARGEST_SCALE
    assert cost(l2_squared, scale, length, honest) <= price
    if scale > LEAST_SCALE:
        wasted = 10 * (honest - 1) * Fraction(1, 2**56) * Fraction(length, 4)
        smaller = below(scale, 2)
        assert Fraction(l2_squared) / (2 * honest * smaller**2) + wasted > price
        assert wasted < price / 100


def test_the_least_scale_is_where_the_bound_of_a_term_begins():
    assert Fraction(1, 2**57) < tau(LEAST_SCALE, 2) / 10 < Fraction(1, 2**56)
    assert share_scale(8, Fraction(1), 1, 2) == LEAST_SCALE
    assert 0 <= share_scale(9, Fraction(1), 1, 2) ** 2 - Fraction(9, 2) < Fraction(1, 10**14)


@pytest.mark.parametrize("square", [5, 7, 10**9 + 7, 10**21 + 1])
def test_a_root_is_rounded_up(square):
    scale = share_scale(2 * square, Fraction(1), 1, 2)
    assert below(scale, 2) ** 2 < square <= scale**2


def test_two_providers_have_no_sum_to_pay_for_and_three_pay_for_one():
    """What is missing is a sum's: at a price that is exactly that of one more term, two providers have shares and three have none."""
    missing = 10 * Fraction(1, 2**56) * Fraction(4096, 4)
    assert share_scale(1, missing, 4096, 2) > LEAST_SCALE
    with pytest.raises(TooDear):
        share_scale(1, missing, 4096, 3)
    share_scale(1, missing * (1 + Fraction(1, 10**9)), 4096, 3)


@pytest.mark.parametrize(("l2_squared", "providers"), [(1, 2), (2**124, 5)])
@pytest.mark.parametrize("price", [Fraction(0), Fraction(-1), Fraction(1, 10**30), Fraction(1, 10**400)])
def test_too_small_a_price_buys_no_shares(l2_squared, providers, price):
    if (l2_squared, price) == (1, Fraction(1, 10**30)):
        assert share_scale(l2_squared, price, 1, providers) > 2**49
        return
    with pytest.raises(TooDear):
        share_scale(l2_squared, price, 1, providers)


def test_the_largest_scale_is_still_one():
    at_most = Fraction(1) / (2 * LARGEST_SCALE**2)
    assert share_scale(1, at_most, 1, 2) == LARGEST_SCALE
    with pytest.raises(TooDear):
        share_scale(1, at_most * (1 - Fraction(1, 10**30)), 1, 2)


@pytest.mark.parametrize("providers", [1, 0, -3])
def test_one_provider_shares_with_nobody(providers):
    with pytest.raises(ValueError, match="nobody") as found:
        share_scale(1, Fraction(1), 1, providers)
    assert not isinstance(found.value, TooDear)


@cache
def of_shares(scale, honest, width):
    """The law of a sum of discrete Gaussian variables, to 60 digits."""
    weights = {at: (-(Decimal(at) ** 2) / (2 * Decimal(scale) ** 2)).exp() for at in range(-width, width + 1)}
    found = {0: Decimal(1)}
    for _ in range(honest):
        joined = {}
        for at, one in found.items():
            for step, other in weights.items():
                joined[at + step] = joined.get(at + step, 0) + one * other
        found = joined
    whole = sum(found.values())
    return {at: weight / whole for at, weight in found.items()}


@pytest.mark.parametrize("honest", [1, 2, 3])
@pytest.mark.parametrize("moved", [1, 2])
@pytest.mark.parametrize("order", [1, 2, 7])
def test_at_the_least_scale_a_sum_of_shares_loses_no_more_than_the_proposition_says(honest, moved, order):
    """The Rényi divergence of the exact law, in digits beyond those that the sum costs."""
    with localcontext() as context:
        context.prec = 60
        law = of_shares(2, honest, 60)
        pairs = [(law[at], law[at - moved]) for at in law if at - moved in law]
        if order == 1:
            lost = sum(one * (one / other).ln() for one, other in pairs)
        else:
            lost = sum(one**order / other ** (order - 1) for one, other in pairs).ln() / (order - 1)
        assert Fraction(lost / order) <= cost(moved**2, LEAST_SCALE, 1, honest) + Fraction(1, 10**40)
        assert lost / order > Decimal(moved**2) / (8 * honest) * (1 - Decimal("1e-15"))


# Its form


def test_a_share_comes_back_from_json():
    stored = json.loads(json.dumps(SHARE.to_json()))
    assert Share.from_json(stored) == SHARE
    assert stored == {
        "job": "j-1",
        "partners": list(KEYS),
        "scales": [{"vector": "units", "scale": "2"}, {"vector": "sum:cost", "scale": "12345/4"}],
    }


def test_every_scale_that_can_be_comes_back():
    for scale in (LEAST_SCALE, LARGEST_SCALE, Fraction(math.nextafter(2, 3)), Fraction(math.nextafter(2**56, 0)), Fraction(math.pi)):  # fmt: skip
        found = replace(SHARE, scales=(("gram", scale),))
        assert Share.from_json(found.to_json()) == found


def a_key(number):
    return base64.b64encode(number.to_bytes(32, "big")).decode()


def test_a_thousand_partners_are_the_most():
    keys = sorted(a_key(number) for number in range(MOST_PARTNERS + 1))
    assert len(replace(SHARE, partners=tuple(keys[:-1])).partners) == 1000
    with pytest.raises(ValueError, match="2 to 1,000 partners"):
        replace(SHARE, partners=tuple(keys))


def test_partners_are_put_in_the_order_in_which_they_stand():
    assert partners_of(KEYS[::-1]) == KEYS
    assert len({hash(SHARE), hash(replace(SHARE, partners=partners_of(KEYS[::-1])))}) == 1


def same_bytes(key):
    """Another text in which the key's bytes are the same to a lenient reader."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return key[:-2] + letters[letters.index(key[-2]) + 1] + "="


OTHER_FORM = same_bytes(KEYS[0])
PARTNERS = [
    [], [KEYS[0]], list(KEYS[::-1]), [KEYS[0], KEYS[0]], [KEYS[0], KEYS[0], KEYS[1]], sorted([KEYS[0], OTHER_FORM]), [*KEYS[:2], "~"],
    [KEYS[0], KEYS[1][:-1]], [KEYS[0], KEYS[1] + "\n"], [" " + KEYS[0], KEYS[1]], [KEYS[0], "a"], ["", KEYS[1]], [KEYS[0], None], [1, 2],
    [KEYS[0], [KEYS[1]]], [KEYS[0], base64.b64encode(bytes([255] * 33)).decode()], [KEYS[0], base64.b64encode(bytes([255] * 31)).decode()],
    [KEYS[0].replace(KEYS[0][0], "-", 1), KEYS[1]], [KEYS[0], "é" * 43 + "="], "".join(KEYS), {KEYS[0]: 1, KEYS[1]: 2}, None, 3,
]  # fmt: skip
SCALES = [
    "1e999999999", "1/0", "-3", "+3", "03", "3.0", "2.5", "3e1", "6/2", "3/01", " 3", "3\n", "3_0", "٣", "", "/", "3/", "/3", "3/2/1", "inf", "nan",
    "1", "0", "1.9", "7/4", "10/3", str(2**53 + 1), str(2**56 + 16), str(2**57), "9" * 21, "1" * 5000, "9/" + "1" * 5000, 3, 2.5, None, True, ["3"],
]  # fmt: skip
OTHERS = [
    [], {}, None, "units", [None], [[]], ["units"], [["units", "2"]], [{"vector": "units"}], [{"scale": "2"}], [{"vector": "units", "scale": "2", "more": 1}],
    [{"vector": None, "scale": "2"}], [{"vector": 1, "scale": "2"}], [{"vector": ["units"], "scale": "2"}], {"vector": "units", "scale": "2"},
    [{"vector": "units", "scale": "2"}, {"vector": "units", "scale": "2"}], [{"vector": "units", "scale": "2"}, {"vector": "units", "scale": "4"}],
]  # fmt: skip
JOBS = ["", "-", "-j", "j 1", "j\n", "j_1", "j/1", "é", "j" * 81, None, 1, ["j-1"], {"j": 1}, True]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        *(("partners", each) for each in PARTNERS),
        *(("scales", [{"vector": "units", "scale": each}]) for each in SCALES),
        *(("scales", each) for each in OTHERS),
        *(("job", each) for each in JOBS),
    ],
)
def test_what_is_malformed_is_refused(member, value):
    with pytest.raises(ValueError, match=" "):
        Share.from_json(SHARE.to_json() | {member: value})


@pytest.mark.parametrize("name", ["job", "partners", "scales"])
def test_a_member_that_is_missing_or_unknown_is_refused(name):
    stored = SHARE.to_json()
    for other in ({key: value for key, value in stored.items() if key != name}, stored | {"more": stored[name]}):
        with pytest.raises(ValueError, match="a share has"):
            Share.from_json(other)


@pytest.mark.parametrize("stored", [None, [], ["job", "partners", "scales"], "share", 1, True])
def test_what_is_no_object_is_refused(stored):
    with pytest.raises(ValueError, match="a share has"):
        Share.from_json(stored)


@pytest.mark.parametrize("scale", [Fraction(10, 3), Fraction(199, 100), Fraction(2**56 + 16), math.nan, math.inf, Fraction(2**2000)])  # fmt: skip
def test_a_scale_is_a_float_within_its_bounds(scale):
    with pytest.raises(ValueError, match="binary float"):
        replace(SHARE, scales=(("units", scale),))


def test_a_key_that_is_read_alike_is_not_a_second_partner():
    """32 bytes have four texts in base64; a reader that takes them all would count one provider four times."""
    assert base64.b64decode(OTHER_FORM, validate=True) == base64.b64decode(KEYS[0])
    Ed25519PublicKey.from_public_bytes(base64.b64decode(OTHER_FORM))
    with pytest.raises(ValueError, match="base64"):
        replace(SHARE, partners=tuple(sorted([*KEYS, OTHER_FORM])))


# In a header


def header(share=SHARE):
    unsigned = Header(
        terms(), "sha256:" + "a" * 64, "sha256:" + "b" * 64, "2026-05-01T00:00:00Z", "banyan 0.1.0", share, base64.b64encode(bytes(64)).decode(),
    )  # fmt: skip
    signature = signing("hospital-a").sign(unsigned.signed())
    return replace(unsigned, signature=base64.b64encode(signature).decode())


@pytest.mark.parametrize("share", [None, SHARE])
def test_a_header_with_a_share_comes_back_and_one_without_says_so(share):
    stored = json.loads(json.dumps(header(share).to_json()))
    assert Header.from_json(stored) == header(share)
    assert stored["share"] == (None if share is None else share.to_json())
    with pytest.raises(ValueError, match="header"):
        Header.from_json({name: value for name, value in stored.items() if name != "share"})
    with pytest.raises(ValueError, match=" "):
        Header.from_json(stored | {"share": SHARE.to_json() | {"job": ""}})
    with pytest.raises(ValueError, match=" "):
        Header.from_json(stored | {"share": {}})


@pytest.mark.parametrize(
    "other",
    [
        None, replace(SHARE, job="j-2"), replace(SHARE, partners=KEYS[:2]), replace(SHARE, scales=SHARE.scales[:1]), replace(SHARE, scales=SHARE.scales[::-1]),
        replace(SHARE, scales=(("units", below(3, 1)), SHARE.scales[1])), replace(SHARE, scales=(("units:", Fraction(2)), SHARE.scales[1])),
    ],
)  # fmt: skip
def test_a_share_is_signed(other):
    signed = header()
    assert signature_holds(signed, public_line("hospital-a"))
    assert not signature_holds(replace(signed, share=other), public_line("hospital-a"))
    assert not signature_holds(replace(header(other), share=SHARE), public_line("hospital-a"))
