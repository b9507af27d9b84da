"""The mask: after it the key holder sees noised results and uniform numbers, in every slot, and never an exact total."""

from collections import Counter
from math import prod

import numpy as np
import pytest
import tenseal

from privacy.encrypted import bfv, seal_blobs
from privacy.encrypted.mask import flood_scale, mask
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


def phase_error(profile, chunk, secret):
    """What is left of a ciphertext's phase c0 + c1·s when round(q·m/t) is taken away: whoever has s sees it beside the numbers m."""
    q, plain = prod(profile.moduli), profile.plain[0]
    whole = np.zeros(profile.slots, dtype=object)
    for at, modulus in enumerate(profile.moduli):
        residues = (chunk[0, 0, at].astype(object) + negacyclic(chunk[0, 1, at], secret)) % modulus
        factor = q // modulus
        whole = (whole + residues * factor * pow(factor, -1, modulus)) % q
    numbers = (whole * plain + q // 2) // q % plain
    error = (whole - (numbers * q + plain // 2) // plain) % q
    return np.array([int(value) if value < q // 2 else int(value) - q for value in error], float)


def negacyclic(words, secret):
    """The product with a ternary polynomial modulo X^n + 1, exactly: in limbs of 20 bits, which floats hold."""
    n, found = len(words), np.zeros(len(words), dtype=object)
    transformed = np.fft.rfft(secret.astype(float), 2 * n)
    for limb in range(3):
        part = ((words >> np.uint64(20 * limb)) & np.uint64((1 << 20) - 1)).astype(float)
        full = np.rint(np.fft.irfft(np.fft.rfft(part, 2 * n) * transformed, 2 * n)).astype(np.int64)
        found = found + (full[:n] - full[n:]).astype(object) * (1 << 20 * limb)
    return found


def secret_of(profile):
    """The ternary secret key from its file, where SEAL keeps it transformed (NTT, powers of psi in bit-reversed order)."""
    n, modulus = profile.slots, profile.moduli[0]
    _, words = bfv._read_key(pair(profile.name).secret, bfv.SECRET)
    values = [int(word) for word in words.reshape(-1, n)[0]]
    psi = min(
        power for power in (pow(base, (modulus - 1) // (2 * n), modulus) for base in range(2, 60)) if pow(power, n, modulus) == modulus - 1
    )  # fmt: skip
    psi = min(pow(psi, odd, modulus) for odd in range(1, 2 * n, 2))
    found, length, inverse = values, 2, pow(psi, -2, modulus)
    while length <= n:
        step, half = pow(inverse, n // length, modulus), length // 2
        powers = [1]
        for _ in range(half - 1):
            powers.append(powers[-1] * step % modulus)
        for start in range(0, n, length):
            for at, power in enumerate(powers, start):
                low, high = found[at], found[at + half] * power % modulus
                found[at], found[at + half] = (low + high) % modulus, (low - high) % modulus
        length *= 2
    scale, back = pow(n, -1, modulus), pow(psi, -1, modulus)
    coefficients = [value * scale * pow(back, at, modulus) % modulus for at, value in enumerate(found)]
    return np.array([value - modulus if value > modulus // 2 else value for value in coefficients])


def test_the_error_that_a_key_holder_sees_beside_the_numbers_is_flooded(monkeypatch):
    """How every upload was rounded lies in it: without the flood a likelihood ratio tells a unit more from a unit less in one job."""
    profile = profile_named("sum34")
    secret = secret_of(profile)
    assert set(secret.tolist()) <= {-1, 0, 1}
    total = add(profile, [encrypted(profile, TOTALS) for _ in range(3)])
    rounding = np.abs(phase_error(profile, total, secret)).max()
    assert 1 < rounding < 1000
    flooded = phase_error(profile, add(profile, [total, mask(pair("sum34").public, profile, NOISE)]), secret)
    scale = float(flood_scale(profile))
    assert 0.95 < flooded.std() / scale < 1.05
    # The loss in zCDP against whoever sees it, of all coefficients and a thousand providers: no more than 2^-40.
    assert profile.slots * (2 * 1000) ** 2 / (2 * scale**2) < 2**-40
    monkeypatch.setattr("privacy.encrypted.mask._flood", lambda _: np.zeros(profile.shape, np.uint64))
    plain = phase_error(profile, add(profile, [total, mask(pair("sum34").public, profile, NOISE)]), secret)
    assert plain.std() < 1000


@EACH_PROFILE
def test_a_flooded_sum_decrypts_exactly_and_far_from_the_edge(profile):
    for plain in profile.plain:
        edge = prod(profile.moduli) / (2 * plain)
        assert float(flood_scale(profile)) * 100 < edge
    chunks = [encrypted(profile, TOTALS)] * 300
    found = decryptor(profile.name).decrypt(add(profile, [*chunks, mask(pair(profile.name).public, profile, NOISE)]))
    assert found[:3] == [300 * total + noise for total, noise in zip(TOTALS, NOISE, strict=True)]


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
