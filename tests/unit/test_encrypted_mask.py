"""The mask: after it the key holder sees noised results and uniform numbers, in every slot, and never an exact total."""

from collections import Counter

import numpy as np
import pytest
import tenseal

from privacy.encrypted import bfv, seal_blobs
from privacy.encrypted.mask import mask
from privacy.encrypted.profiles import PROFILES, profile_named
from privacy.encrypted.sums import add
from tests.unit.encrypted_world import decryptor, pair

EACH_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
SUM58 = profile_named("sum58")
TOTALS, NOISE = [1000, 2000, -3000], [77, -88, 99]
# Of a chi-squared variable with 15 degrees of freedom: above it once in ten million times.
BUCKETS, UNLIKELY = 16, 63.0


def encrypted(profile, values):
    return bfv.encrypt(pair(profile.name).public, profile, [*values, *([0] * (profile.slots - len(values)))])


def spread(values, span):
    """The chi-squared statistic of residues against a uniform law."""
    found = Counter(value * BUCKETS // span for value in values)
    expected = len(values) / BUCKETS
    return sum((found[bucket] - expected) ** 2 / expected for bucket in range(BUCKETS))


def test_adding_a_plain_list_leaves_the_exact_totals_in_the_other_slots():
    """encryption.md §0.1: the obvious way hands them to the key holder. Why there is a mask at all."""
    context = bfv._made_contexts(pair().public, pair().secret)[0]
    naive = tenseal.bfv_vector(context, TOTALS) + NOISE
    parts = {number: value for number, _, value in seal_blobs.fields(naive.serialize())}
    leaked = decryptor().decrypt(seal_blobs.ciphertext_polynomials(parts[2])[2][None])
    assert leaked[:3] == [1077, 1912, -2901]
    assert leaked[3:6] == TOTALS
    assert set(leaked[3:]) == set(TOTALS)


@EACH_PROFILE
def test_a_masked_sum_has_noised_results_and_uniform_numbers_elsewhere(profile):
    providers = [encrypted(profile, TOTALS) for _ in range(3)]
    exact = [3 * value for value in TOTALS]
    found = decryptor(profile.name).decrypt(add(profile, [*providers, mask(pair(profile.name).public, profile, NOISE)]))
    assert found[:3] == [total + noise for total, noise in zip(exact, NOISE, strict=True)]
    assert not {0, *exact, *TOTALS} & set(found)
    others = found[3:]
    assert len(set(others)) > len(others) - 3, "no slot repeats another"
    for modulus in profile.plain:
        assert spread([value % modulus for value in others], modulus) < UNLIKELY
    assert spread([value % profile.span for value in others], profile.span) < UNLIKELY
    repeats = np.corrcoef(np.array(others[:-1], float), np.array(others[1:], float))[0, 1]
    assert abs(repeats) < 0.1


def test_the_statistic_tells_a_repeated_vector_from_a_uniform_one():
    assert spread([value % SUM58.span for value in TOTALS] * 2000, SUM58.span) > 100 * UNLIKELY


def test_two_plain_moduli_carry_one_noise_and_independent_uniform_numbers():
    """Other noise modulo each would be another number altogether; the same uniform number modulo both would tell one by the other."""
    profile = profile_named("crt115")
    found = decryptor("crt115").decrypt(mask(pair("crt115").public, profile, NOISE))
    residues = [[value % modulus for value in found] for modulus in profile.plain]
    for values, modulus in zip(residues, profile.plain, strict=True):
        assert values[:3] == [noise % modulus for noise in NOISE]
    one, two = (np.array(values[3:], float) for values in residues)
    assert not set(residues[0][3:]) & set(residues[1][3:])
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


def test_a_masked_sum_shows_nothing_of_the_uploads_polynomials():
    """A plain addition leaves the second polynomial as it was, which links a released sum to its uploads."""
    total = add(SUM58, [encrypted(SUM58, TOTALS) for _ in range(3)])
    masked = add(SUM58, [total, mask(pair().public, SUM58, NOISE)])
    assert (masked != total).mean() > 0.999


def test_every_mask_is_fresh():
    one, two = (decryptor().decrypt(mask(pair().public, SUM58, NOISE)) for _ in range(2))
    assert one[:3] == two[:3] == NOISE
    assert not set(one[3:]) & set(two[3:])


@EACH_PROFILE
def test_noise_beyond_the_range_wraps(profile):
    most = (profile.span - 1) // 2
    found = decryptor(profile.name).decrypt(
        mask(pair(profile.name).public, profile, [most + 1, -most - 1, 5 * profile.span + 7])
    )
    assert found[:3] == [-most, most, 7]


def test_noise_may_fill_a_chunk_but_not_more():
    noise = list(range(SUM58.slots))
    assert decryptor().decrypt(mask(pair().public, SUM58, noise)) == noise
    with pytest.raises(ValueError, match="more noise"):
        mask(pair().public, SUM58, [*noise, 0])
