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


def test_a_key_pair_that_does_not_give_back_what_was_encrypted_is_not_made(monkeypatch):
    other = bfv.new_keys(SUM58)
    with pytest.raises(bfv.KeyFault):
        bfv._check_known_answers(SUM58, bfv.KeyPair(pair().public, other.secret))


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


