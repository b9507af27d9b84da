"""The profiles: numbers that mathematics and the library agree with."""

import hashlib

import pytest

from privacy.encrypted import bfv, seal_blobs
from privacy.encrypted.profiles import PROFILES, Profile, profile_named

# Bits of all coefficient moduli together at 128-bit security (homomorphicencryption.org, table for ternary secrets).
SECURE_BITS = {4096: 109, 8192: 218}
# Miller-Rabin with these bases is no guess below 3.3 * 10^24.
BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)


def prime(number):
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in BASES:
        power = pow(base, odd, number)
        if power not in (1, number - 1) and all(pow(power, 2**step, number) != number - 1 for step in range(1, twos)):
            return False
    return True


def test_the_test_for_primes_tells():
    assert prime(2**61 - 1)
    assert not prime(3215031751)  # a pseudoprime to the bases 2, 3, 5 and 7
    assert not prime((2**31 - 1) ** 2)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_the_moduli_are_what_the_scheme_needs(profile):
    keys = (*profile.moduli, profile.special)
    everything = {*keys, *profile.plain}
    assert len(everything) == len(keys) + len(profile.plain), "no modulus may be another's"
    for modulus in everything:
        assert prime(modulus)
        assert modulus % (2 * profile.slots) == 1, "or slots and fast multiplication do not exist"
    assert tuple(modulus.bit_length() for modulus in keys) == profile.sizes
    assert sum(profile.sizes) <= SECURE_BITS[profile.slots]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_sizes_follow_from_the_moduli(profile):
    assert profile.chunk_bytes == 8 * len(profile.plain) * 2 * len(profile.moduli) * profile.slots
    assert [profile.chunks_of(length) for length in (0, 1, profile.slots, profile.slots + 1)] == [0, 1, 1, 2]


def test_spans_are_as_their_names_say():
    assert {name: profile.span.bit_length() for name, profile in PROFILES.items()} == {
        "sum34": 34,
        "sum58": 58,
        "crt115": 116,
    }
    assert PROFILES["crt115"].span > 2**115


def test_a_profile_never_changes():
    """What providers have encrypted is under these numbers: other ones are another profile with another name."""
    said = "; ".join(
        f"{each.name} {each.slots} {each.moduli} {each.special} {each.plain}" for each in PROFILES.values()
    )
    assert (
        hashlib.sha256(said.encode()).hexdigest() == "139df0ed4e2a666395b6771ede300f4a361531d8bb4aa753ca26adda1fcc1264"
    )


@pytest.mark.parametrize("name", ["", "sum59", "SUM58", None, 5])
def test_there_are_no_others(name):
    with pytest.raises(ValueError, match="sum34, sum58, crt115"):
        profile_named(name)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_the_library_takes_the_same_moduli(profile):
    for modulus in profile.plain:
        parts = dict(bfv._parts(bfv._fresh_context(profile, modulus)))
        assert seal_blobs.moduli_of(parts[1]) == (profile.slots, (*profile.moduli, profile.special), modulus)


def test_a_library_that_takes_others_is_noticed():
    real = profile_named("sum58")
    other = Profile(real.name, real.slots, real.sizes, real.moduli[::-1], real.special, real.plain)
    with pytest.raises(bfv.KeyFault, match="other moduli"):
        bfv.new_keys(other)
