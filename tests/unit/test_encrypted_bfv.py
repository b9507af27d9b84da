"""Keys, ciphertexts and masks: exact where they must be, random where they must be, and refusing what the library would take."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tenseal

from privacy.encrypted import bfv, seal_blobs
from privacy.encrypted.chunks import bytes_of, read_chunk
from privacy.encrypted.mask import mask
from privacy.encrypted.profiles import PROFILES, profile_named
from privacy.encrypted.sums import add
from tests.unit.encrypted_world import decryptor, pair

SUM58 = profile_named("sum58")
MOST = (SUM58.span - 1) // 2


def filled(start, profile=SUM58):
    return [*start, *([0] * (profile.slots - len(start)))]


@pytest.mark.parametrize("name", PROFILES)
def test_every_slot_comes_back_exactly_also_the_largest(name):
    profile = profile_named(name)
    most = (profile.span - 1) // 2
    values = [most, -most, 1, -1, *range(profile.slots - 4)]
    assert decryptor(name).decrypt(bfv.encrypt(pair(name).public, profile, values)) == values


@pytest.mark.parametrize("name", PROFILES)
def test_the_profile_says_what_the_library_does(name):
    profile = profile_named(name)
    for modulus in profile.plain:
        parts = dict(bfv._parts(bfv._fresh_context(profile, modulus)))
        assert seal_blobs.moduli_of(parts[1]) == (profile.slots, (*profile.moduli, profile.special), modulus)
        assert (modulus - 1) % (2 * profile.slots) == 0


def test_a_profile_that_the_library_does_differently_is_noticed(monkeypatch):
    other = bfv.Profile("sum58", 8192, (60, 60, 60), SUM58.moduli[::-1], SUM58.special, SUM58.plain)
    with pytest.raises(bfv.KeyFault):
        bfv._template(other, SUM58.plain[0])


def test_a_key_pair_that_does_not_give_back_what_was_encrypted_is_not_made(monkeypatch):
    other = bfv.new_keys(SUM58)
    with pytest.raises(bfv.KeyFault):
        bfv._check_known_answers(SUM58, bfv.KeyPair(pair().public, other.secret))


def test_a_thousand_additions_are_exact():
    values = list(range(-4096, 4096))
    chunk = bfv.encrypt(pair().public, SUM58, values)
    assert decryptor().decrypt(add(SUM58, [chunk] * 1000)) == [1000 * value for value in values]


def test_two_moduli_hold_sums_beyond_64_bits_under_one_noise():
    profile = profile_named("crt115")
    large, noise = 2**70, [12345, -999]
    chunks = [bfv.encrypt(pair("crt115").public, profile, filled([large, -large], profile)) for _ in range(5)]
    found = decryptor("crt115").decrypt(add(profile, [*chunks, mask(pair("crt115").public, profile, noise)]))
    assert found[:2] == [5 * large + 12345, -5 * large - 999]


def test_two_encryptions_of_the_same_differ_everywhere():
    one, two = (bfv.encrypt(pair().public, SUM58, filled([7])) for _ in range(2))
    assert (one != two).mean() > 0.99


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (filled([MOST + 1]), ValueError), (filled([-MOST - 1]), ValueError), (filled([2**64]), ValueError), ([1, 2], ValueError),
        (filled([1.0]), TypeError), (filled([float("nan")]), TypeError), (filled([True]), TypeError), (filled([None]), TypeError),
        (filled(["1"]), TypeError), (np.array(filled([1.5])), TypeError), (np.array(filled([2**63 + 5]), np.uint64), ValueError),
    ],
)  # fmt: skip
def test_what_the_library_would_silently_change_is_refused(values, problem):
    """TenSEAL truncates floats, wraps what is too large, and lets a large value damage other slots (encryption.md §1)."""
    with pytest.raises(problem):
        bfv.encrypt(pair().public, SUM58, values)


def test_adding_a_plain_list_leaves_the_exact_sum_in_the_other_slots_and_a_mask_does_not():
    """encryption.md §0.1: the obvious way hands the exact aggregate to the key holder."""
    context = bfv._made_contexts(pair().public, pair().secret)[0]
    naive = tenseal.bfv_vector(context, [1000, 2000]) + [77, 88]  # noqa: RUF005 - an addition under encryption
    parts = {number: value for number, _, value in seal_blobs.fields(naive.serialize())}
    leaked = decryptor().decrypt(seal_blobs.ciphertext_polynomials(parts[2])[2][None])
    assert leaked[:2] == [1077, 2088]
    assert leaked[2:4] == [1000, 2000], "the library's own way leaks"

    total = bfv.encrypt(pair().public, SUM58, filled([1000, 2000]))
    masked = decryptor().decrypt(add(SUM58, [total, mask(pair().public, SUM58, [77, 88])]))
    assert masked[:2] == [1077, 2088]
    assert not {0, 1000, 2000} & set(masked[2:])
    others = np.array(masked[2:], dtype=float) / MOST
    assert abs(others.mean()) < 0.05
    assert abs((others**2).mean() - 1 / 3) < 0.03, "uniform, as a thousand others would be"


def test_a_mask_is_fresh_and_noise_beyond_the_range_wraps():
    one, two = (decryptor().decrypt(mask(pair().public, SUM58, [MOST + 1])) for _ in range(2))
    assert one[0] == two[0] == -MOST
    assert one[1:] != two[1:]
    with pytest.raises(ValueError, match="more noise"):
        mask(pair().public, SUM58, [0] * (SUM58.slots + 1))


def test_another_key_gives_numbers_and_no_crash():
    other = bfv.new_keys(SUM58)
    found = bfv.Decryptor(other).decrypt(bfv.encrypt(pair().public, SUM58, filled([5])))
    assert found[0] != 5
    assert len(found) == SUM58.slots
    assert bfv.key_id(other.public) != bfv.key_id(pair().public)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-8], lambda key: key + bytes(8), lambda key: key.replace(b"sum58", b"sum34"),
        lambda key: key.replace(b"public", b"secret"), lambda key: key[:-8] + b"\xff" * 8, lambda key: b"", lambda key: b"{}\n",
        lambda key: key.replace(b"banyan.key/1", b"banyan.key/2"),
    ],
)  # fmt: skip
def test_only_a_whole_public_key_is_read(change):
    with pytest.raises(ValueError, match="key"):
        bfv.profile_of(change(pair().public))


def test_a_public_key_holds_no_secret():
    secret = pair().secret.partition(b"\n")[2]
    assert secret[:64] not in pair().public
    with pytest.raises(ValueError, match="secret"):
        bfv._made_contexts(pair().public, pair().public)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda chunk: chunk[:-8], "size"), (lambda chunk: chunk + bytes(8), "size"), (lambda chunk: bytes(len(chunk)), "transparent"),
        (lambda chunk: b"\xff" * 8 + chunk[8:], "modulus"), (lambda chunk: chunk[: len(chunk) // 2] + bytes(len(chunk) // 2), "transparent"),
        (lambda chunk: SUM58.moduli[0].to_bytes(8, "little") + chunk[8:], "modulus"),
    ],
)  # fmt: skip
def test_a_chunk_is_read_strictly(change, reason):
    chunk = bytes_of(bfv.encrypt(pair().public, SUM58, filled([1])))
    read_chunk(SUM58, chunk)
    with pytest.raises(ValueError, match=reason):
        read_chunk(SUM58, change(chunk))


def test_a_forked_child_adds_and_decrypts_in_time():
    """A context with threads hangs in a forked child (PySyft#5404); ours have one."""
    chunk = bfv.encrypt(pair().public, SUM58, filled([21]))
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        found = bfv.Decryptor(pair()).decrypt(add(SUM58, [chunk, chunk]))[0]
        os.write(told, str(found).encode())
        os._exit(0)
    os.close(told)
    begun = time.monotonic()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() - begun > 5:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.read(ready, 100) == b"42"
    os.close(ready)


def test_two_hundred_rounds_take_no_more_memory():
    """TenSEAL#317, SEAL#241."""
    program = """
import json, resource, sys
from privacy.encrypted import bfv
from privacy.encrypted.profiles import profile_named
profile = profile_named("sum34")
pair = bfv.new_keys(profile)
decryptor = bfv.Decryptor(pair)
def rounds(count):
    for _ in range(count):
        decryptor.decrypt(bfv.encrypt(pair.public, profile, [1] * profile.slots))
    return int(open("/proc/self/statm").read().split()[1])
rounds(30)
print(json.dumps([rounds(1), rounds(200)]))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    before, after = json.loads(said.stdout)
    assert after < 1.05 * before


def test_sums_reduce_before_a_word_overflows():
    chunk = np.full(SUM58.shape, 0, np.uint64)
    for at, modulus in enumerate(SUM58.moduli):
        chunk[:, :, at] = modulus - 1
    found = add(SUM58, [chunk] * 40)
    for at, modulus in enumerate(SUM58.moduli):
        assert (found[:, :, at] == 40 * (modulus - 1) % modulus).all()
    assert (add(SUM58, []) == 0).all()
    with pytest.raises(ValueError, match="shape"):
        add(SUM58, [np.zeros((1, 2, 2, 4), np.uint64)])


def test_reading_blobs_stops_at_the_first_thing_that_is_not_as_expected():
    chunk = bfv.encrypt(pair().public, SUM58, filled([1]))
    blob = seal_blobs.ciphertext_blob(bytes(32), chunk[0], (4, 3), ntt=False)
    assert (seal_blobs.ciphertext_polynomials(blob)[2] == chunk[0]).all()
    for broken in (blob[:-1], b"\0" + blob[1:], blob[:5] + b"\x01" + blob[6:]):
        with pytest.raises(ValueError):
            seal_blobs.ciphertext_polynomials(broken)
    for message in (b"\x0a\x05abc", b"\x80" * 12, b"\x0b\x00"):
        with pytest.raises(ValueError):
            list(seal_blobs.fields(message))
