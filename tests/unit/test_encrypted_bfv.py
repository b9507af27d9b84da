"""Keys and ciphertexts: exact where they must be, random where they must be, and refusing what the library would take."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tenseal

from privacy.encrypted import bfv, seal_blobs
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


def test_a_key_pair_that_does_not_give_back_what_was_encrypted_is_not_made():
    other = bfv.new_keys(SUM58)
    with pytest.raises(bfv.KeyFault):
        bfv._check_known_answers(SUM58, bfv.KeyPair(pair().public, other.secret))


def test_two_encryptions_of_the_same_differ_everywhere():
    one, two = (bfv.encrypt(pair().public, SUM58, filled([7])) for _ in range(2))
    assert (one != two).mean() > 0.99


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (filled([MOST + 1]), ValueError), (filled([-MOST - 1]), ValueError), (filled([2**64]), ValueError), ([1, 2], ValueError),
        (filled([1.0]), TypeError), (filled([float("nan")]), TypeError), (filled([True]), TypeError), (filled([None]), TypeError),
        (filled(["1"]), TypeError), (np.array(filled([1.5])), TypeError), (np.array(filled([2**63 + 5]), np.uint64), ValueError),
        (np.array(filled([True]), bool), TypeError), (np.array(filled([1, True]), object), TypeError), (filled([np.uint64(2**63 + 5)]), TypeError),
        (np.array(filled([float("nan")])), TypeError), ([0] * (SUM58.slots + 1), ValueError), (np.zeros((2, SUM58.slots), np.int64), ValueError),
    ],
)  # fmt: skip
def test_what_the_library_would_silently_change_is_refused(values, problem):
    """TenSEAL truncates floats, wraps what is too large, and lets a large value damage other slots (encryption.md §1)."""
    with pytest.raises(problem):
        bfv.encrypt(pair().public, SUM58, values)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint64, object])
def test_whole_numbers_are_taken_from_any_array_of_them(dtype):
    values = np.array(filled([2**31 - 1, 0, 1]), dtype)
    assert decryptor().decrypt(bfv.encrypt(pair().public, SUM58, values)) == values.tolist()


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
        lambda key: key.replace(b"public", b"secret"), lambda key: key[:-8] + b"\xff" * 8, lambda key: key[:-8] + SUM58.special.to_bytes(8, "little"), lambda key: b"", lambda key: b"{}\n",
        lambda key: key.replace(b"banyan.key/1", b"banyan.key/2"), lambda key: key[: key.index(b"\n") + 1] + bytes(len(key) - key.index(b"\n") - 1),
        lambda key: key[: -8 * SUM58.slots] + bytes(8 * SUM58.slots),
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


def test_every_context_has_one_thread(monkeypatch):
    """A pool of more hangs in a forked child (PySyft#5404)."""
    asked = []

    def noting(make):
        def made(*args, **settings):
            asked.append(settings["n_threads"])
            return make(*args, **settings)

        return made

    library = SimpleNamespace(**vars(tenseal))
    library.context, library.context_from = noting(tenseal.context), noting(tenseal.context_from)
    monkeypatch.setattr(bfv, "tenseal", library)
    for kept in (bfv._template, bfv._library, bfv._public_contexts):
        kept.cache_clear()
    keys = bfv.new_keys(SUM58)
    assert bfv.Decryptor(keys).decrypt(bfv.encrypt(keys.public, SUM58, filled([3])))[0] == 3
    assert len(asked) > 4
    assert set(asked) == {1}


def test_forked_children_add_and_decrypt_in_time_and_draw_their_own_randomness():
    """With what the parent had made ready, as a pool of processes would."""
    chunk, ready = bfv.encrypt(pair().public, SUM58, filled([21])), decryptor()
    children = []
    for _ in range(2):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            found = ready.decrypt(add(SUM58, [chunk, chunk]))[0]
            fresh = bfv.encrypt(pair().public, SUM58, filled([21]))
            os.write(writing, json.dumps([found, int(fresh[0, 1, 0, 0])]).encode())
            os._exit(0)
        os.close(writing)
        children.append((child, reading))
    begun, said = time.monotonic(), []
    for child, reading in children:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() - begun > 5:
                for each, _ in children:
                    os.kill(each, 9)
                pytest.fail("a child hangs")
            time.sleep(0.01)
        said.append(json.loads(os.read(reading, 1000)))
        os.close(reading)
    assert [found for found, _ in said] == [42, 42]
    assert len({word for _, word in said} | {int(chunk[0, 1, 0, 0])}) == 3


def test_what_is_written_is_read_again_and_nothing_else():
    """Damage of our own process's blobs is a fault like any other, told by one kind of error."""
    chunk = bfv.encrypt(pair().public, SUM58, filled([1]))
    blob = seal_blobs.ciphertext_blob(bytes(32), chunk[0], (4, 3), ntt=False)
    assert (seal_blobs.ciphertext_polynomials(blob)[2] == chunk[0]).all()
    for broken in (
        b"",
        blob[:10],
        blob[:-1],
        b"\0" + blob[1:],
        blob[:5] + b"\x01" + blob[6:],
        blob[:5] + b"\x02" + blob[6:],
    ):
        with pytest.raises(ValueError):
            seal_blobs.ciphertext_polynomials(broken)
    for message in (b"\x0a\x05abc", b"\x80" * 12, b"\x0b\x00"):
        with pytest.raises(ValueError):
            list(seal_blobs.fields(message))
