"""Pair masks: gone in the sum of all, uniform in any smaller one, others for each job, vector and pair; and only of keys that are keys."""

import base64
import hashlib
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from banyan.encrypt.pair_masks import _public, _secret, check_partner, masks
from banyan.encrypt.profiles import PROFILES
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SPANS = {name: profile.span for name, profile in PROFILES.items()}
EACH_SPAN = pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
T34 = SPANS["sum34"]
# Of a chi-squared variable with 15 degrees of freedom: above it once in ten million times.
BUCKETS, UNLIKELY = 16, 63.0
PRIME = 2**255 - 19


def key(number):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"pair masks %d" % number).digest())


def line(raw):
    return base64.b64encode(raw).decode()


def line_of(signing):
    return line(signing.public_key().public_bytes_raw())


KEYS = [key(number) for number in range(5)]
LINES = [line_of(each) for each in KEYS]


def mask(at, partners, span, job="j-1", vector="units", length=50):
    return masks(KEYS[at], [LINES[other] for other in partners], job, vector, length, span)


def spread(values, span):
    """The chi-squared statistic of residues against a uniform law."""
    found = Counter(value * BUCKETS // span for value in values)
    expected = len(values) / BUCKETS
    return sum((found[bucket] - expected) ** 2 / expected for bucket in range(BUCKETS))


def summed(lists, span):
    return [sum(each) % span for each in zip(*lists, strict=True)]


@EACH_SPAN
@pytest.mark.parametrize("providers", [2, 3, 4, 5])
def test_masks_cancel_in_the_sum_of_all_and_in_no_smaller_one(providers, span):
    everybody = range(providers)
    each = [mask(at, everybody, span) for at in everybody]
    assert all(0 <= value < span for values in each for value in values)
    assert summed(each, span) == [0] * 50
    for few in range(1, providers):
        for some in combinations(each, few):
            assert summed(some, span).count(0) == 0


def test_partners_may_come_in_any_order_and_the_one_who_is_left_out_has_no_part():
    assert mask(0, [0, 1, 2], T34) == mask(0, [2, 0, 1], T34)
    assert summed([mask(0, [0, 1], T34), mask(0, [0, 2], T34)], T34) == mask(0, [0, 1, 2], T34)


@EACH_SPAN
@pytest.mark.parametrize("providers", [2, 3, 5])
def test_the_masks_of_one_are_uniform_and_tell_nothing_of_their_neighbours(providers, span):
    for at in range(2):
        values = mask(at, range(providers), span, length=8000)
        assert spread(values, span) < UNLIKELY
        # In the low digits too: a width without spare bytes would leave a modulus uneven.
        assert spread([value % BUCKETS for value in values], BUCKETS) < UNLIKELY
        assert len(set(values)) > 7990
        assert abs(np.corrcoef(np.array(values[:-1], float), np.array(values[1:], float))[0, 1]) < 0.06
        assert max(values) > span * 0.99


def test_few_bytes_beyond_a_modulus_would_be_seen():
    """A span of two thirds of a word: without spare bytes its first half would come twice as often."""
    span = 2**8 * 2 // 3
    assert spread([each % span for each in np.random.default_rng(1).integers(0, 256, 8000).tolist()], span) > UNLIKELY
    assert spread(mask(0, [0, 1], span, length=8000), span) < UNLIKELY


@EACH_SPAN
def test_masks_are_of_one_job_one_vector_and_one_pair(span):
    found = [
        mask(at, pair, span, job, vector)
        for at, pair in ((0, [0, 1]), (0, [0, 2]), (1, [1, 2]), (3, [3, 4]))
        for job in ("j-1", "j-2", "j-11")
        for vector in ("units", "sum:cost", "1")
    ]
    assert len({value for values in found for value in values}) >= len(found) * 50 - 1
    # Nothing of how one text ends and the next begins.
    assert mask(0, [0, 1], span, "j", '","') != mask(0, [0, 1], span, 'j","', "")


def test_masks_are_the_same_again_which_is_why_a_job_is_given_one_contribution():
    assert mask(0, [0, 1, 2], T34) == mask(0, [0, 1, 2], T34)
    assert mask(0, [0, 1, 2], T34, length=20) == mask(0, [0, 1, 2], T34)[:20]


def test_ones_own_key_is_among_the_partners():
    for partners in ([1, 2], []):
        with pytest.raises(ValueError, match="own key"):
            mask(0, partners, T34)
    assert mask(0, [0], T34) == [0] * 50


# Keys


def montgomery(number):
    """What X25519 makes of the secret of a signing key."""
    return _secret(key(number)).public_key().public_bytes_raw()


def test_the_converted_public_key_is_that_of_the_converted_secret():
    for number in range(300):
        assert _public(line_of(key(number))).public_bytes_raw() == montgomery(number), number


def test_two_have_one_secret_and_a_third_has_another():
    one, two, three = (_secret(each) for each in KEYS[:3])
    shared = one.exchange(_public(LINES[1]))
    assert shared == two.exchange(_public(LINES[0]))
    assert shared not in {three.exchange(_public(LINES[0])), three.exchange(_public(LINES[1]))}


def test_the_conversion_is_libsodiums():
    """From its own test of the conversion, test/default/ed25519_convert.c."""
    signing = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("421151a459faeade3d247115f94aedae42318124095afabe4d1451a559faedee")
    )
    public = "f1814f0e8ff1043d8a44d25babff3cedcae6c22c3edaa48f857ae70de2baae50"
    assert _public(line_of(signing)).public_bytes_raw().hex() == public
    assert _secret(signing).public_key().public_bytes_raw().hex() == public
    clamped = bytearray(_secret(signing).private_bytes_raw())
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    assert clamped.hex() == "8052030376d47112be7f73ed7a019293dd12ad910b654455798b4667d73de166"


def encoded(y, sign=0, length=32):
    return line((y | sign << 255).to_bytes(length, "little"))


def test_the_base_point_is_the_base_point():
    """RFC 7748, 4.1: y = 4/5 is u = 9, on either side."""
    y = 4 * pow(5, -1, PRIME) % PRIME
    for sign in (0, 1):
        assert int.from_bytes(_public(encoded(y, sign)).public_bytes_raw(), "little") == 9


# Where y = -1, the order is 2; of the two with 4 and the four with 8, y is 0 and a root of it.
ORDER_8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
MALFORMED = {
    "the identity": encoded(1), "the identity's other sign": encoded(1, 1), "order 2": encoded(PRIME - 1), "order 4": encoded(0), "order 4 again": encoded(0, 1),
    "order 8": encoded(ORDER_8), "order 8 again": encoded(PRIME - ORDER_8, 1), "p": encoded(PRIME), "p + 1": encoded(PRIME + 1, 1), "p + 3": encoded(PRIME + 3),
    "all ones": line(bytes([255] * 32)), "31 bytes": line(KEYS[0].public_key().public_bytes_raw()[:31]), "33 bytes": line(KEYS[0].public_key().public_bytes_raw() + b"\0"),
    "33 bytes, the last of them more": line(KEYS[0].public_key().public_bytes_raw() + b"\7"), "0 bytes": "", "no base64": "~" * 44, "no ASCII": "é" * 44,
    "no padding": LINES[1][:-1], "a line end": LINES[1] + "\n",
}  # fmt: skip


@pytest.mark.parametrize("other", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_key_is_refused_before_a_number_is_masked(other):
    with pytest.raises(ValueError):
        masks(KEYS[0], [LINES[0], other], "j-1", "units", 3, T34)
    with pytest.raises(ValueError):
        check_partner(other)


def test_keys_are_partners():
    for each in LINES:
        check_partner(each)
    for y in (2, PRIME - 2):
        check_partner(encoded(y))
