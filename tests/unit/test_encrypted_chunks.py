"""The bytes of a chunk: taken only when they can be added and decrypted, and hostile ones end in a reason, never in a crash."""

import base64
import json
import subprocess
import sys

import numpy as np
import pytest

from privacy.encrypted import bfv
from privacy.encrypted.chunks import bytes_of, check_chunk, read_chunk
from privacy.encrypted.profiles import PROFILES, profile_named
from tests.unit.encrypted_world import decryptor, pair

EACH_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
SUM58 = profile_named("sum58")


def a_chunk(profile):
    return bfv.encrypt(pair(profile.name).public, profile, list(range(profile.slots)))


@EACH_PROFILE
def test_bytes_come_back_as_the_same_array_without_a_copy(profile):
    chunk = a_chunk(profile)
    content = bytes_of(chunk)
    assert len(content) == profile.chunk_bytes
    assert content[:8] == int(chunk[0, 0, 0, 0]).to_bytes(8, "little")
    for form in (content, memoryview(content)):
        found = read_chunk(profile, form)
        assert (found == chunk).all()
        assert np.shares_memory(found, np.frombuffer(content, np.uint8))
    assert decryptor(profile.name).decrypt(read_chunk(profile, content)) == list(range(profile.slots))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda chunk: chunk[:-8], "size"), (lambda chunk: chunk + bytes(8), "size"), (lambda chunk: chunk[:-1], "size"), (lambda chunk: b"", "size"),
        (lambda chunk: bytes(len(chunk)), "transparent"), (lambda chunk: b"\xff" * 8 + chunk[8:], "modulus"),
        (lambda chunk: chunk[: len(chunk) // 2] + bytes(len(chunk) // 2), "transparent"),
    ],
)  # fmt: skip
def test_what_is_not_a_chunk_is_refused_with_its_reason(change, reason):
    with pytest.raises(ValueError, match=reason):
        read_chunk(SUM58, change(bytes_of(a_chunk(SUM58))))


@EACH_PROFILE
def test_each_coefficient_is_below_its_own_modulus(profile):
    plain, polynomials, moduli, slots = profile.shape
    chunk = a_chunk(profile)
    for at in np.ndindex(plain, polynomials, moduli):
        for slot in (0, slots - 1):
            changed = chunk.copy()
            changed[(*at, slot)] = profile.moduli[at[2]] - 1
            check_chunk(profile, changed)
            changed[(*at, slot)] += np.uint64(1)
            with pytest.raises(ValueError, match="modulus"):
                check_chunk(profile, changed)


@EACH_PROFILE
def test_a_ciphertext_that_is_transparent_under_one_modulus_alone_is_refused(profile):
    """Without a key each coefficient has one candidate left (34 bits), or about a hundred of 2^58 (58 bits)."""
    plain, _, moduli, _ = profile.shape
    chunk = a_chunk(profile)
    for at, modulus in np.ndindex(plain, moduli):
        changed = chunk.copy()
        changed[at, 1, modulus] = 0
        with pytest.raises(ValueError, match="transparent"):
            check_chunk(profile, changed)
        changed[at, 1, modulus, 5] = 1
        check_chunk(profile, changed)


MUTATIONS = """
import base64, json, random, sys
import numpy as np
from privacy.encrypted import bfv, seal_blobs
from privacy.encrypted.chunks import bytes_of, read_chunk
from privacy.encrypted.profiles import profile_named
given = json.load(sys.stdin)
profile, chance = profile_named("sum34"), random.Random(given["seed"])
public, secret = (base64.b64decode(given[name]) for name in ("public", "secret"))
decryptor = bfv.Decryptor(bfv.KeyPair(public, secret))
whole = bytes_of(bfv.encrypt(public, profile, list(range(profile.slots))))
found = {}
for number in range(given["count"]):
    blob, kind = bytearray(whole), number % 6
    at = 8 * chance.randrange(len(blob) // 8)
    modulus = profile.moduli[at // 8 // profile.slots % len(profile.moduli)]
    if kind == 0:
        for _ in range(chance.randint(1, 4)):
            blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del blob[chance.randrange(len(blob)):]
    elif kind == 2:
        blob[at:at] = chance.randbytes(chance.choice([1, 8, 4096]))
    elif kind == 3:
        blob[at:at + 8] = chance.choice([0, modulus - 1, modulus, modulus + 1, 2**63, 2**64 - 1]).to_bytes(8, "little")
    elif kind == 4:
        size = min(len(blob) - at, 8 * chance.choice([1, 100, profile.slots, 2 * profile.slots]))
        blob[at:at + size] = bytes(size)
    else:
        one = profile.slots * 8 * chance.randrange(4)
        blob[one:one + profile.slots * 8] = bytes(profile.slots * 8)
    try:
        chunk = read_chunk(profile, bytes(blob))
    except ValueError as refused:
        said = str(refused)
    else:
        values = decryptor.decrypt(chunk)
        assert len(values) == profile.slots and all(2 * abs(value) <= profile.span for value in values)
        said = "read"
    found[said] = found.get(said, 0) + 1
shapes = {"blobs read": 0, "blobs refused": 0}
parts = dict(bfv._parts(bfv._fresh_context(profile, profile.plain[0])))
words = read_chunk(profile, whole)[0]
readers = [
    (seal_blobs.ciphertext_blob(bytes(32), words, (4, 3), ntt=False), seal_blobs.ciphertext_polynomials),
    (parts[2], seal_blobs.ciphertext_polynomials), (parts[3], seal_blobs.secret_polynomials), (parts[1], seal_blobs.moduli_of),
]
for number in range(given["count"]):
    own, reader = readers[number % 4]
    blob, kind = bytearray(own), number // 4 % 4
    near = min(len(blob) - 8, 130)
    if kind == 0:
        blob[chance.randrange(near)] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del blob[chance.randrange(len(blob)):]
    elif kind == 2:
        at = chance.randrange(near)
        blob[at:at + 8] = (2**chance.choice([31, 32, 62, 63, 64]) - 1).to_bytes(8, "little")
    else:
        del blob[chance.randrange(16, near):]
        blob[8:16] = len(blob).to_bytes(8, "little")
    try:
        reader(bytes(blob))
        shapes["blobs read"] += 1
    except ValueError:
        shapes["blobs refused"] += 1
print(json.dumps({**found, **shapes}))
"""


def test_two_thousand_mutated_chunks_and_blobs_end_in_a_reason_or_in_numbers():
    """In a process of its own: the library that decrypts what was accepted is not memory-safe."""
    keys = pair("sum34")
    given = {
        "seed": int(np.random.default_rng().integers(10**9)), "count": 2000,
        "public": base64.b64encode(keys.public).decode(), "secret": base64.b64encode(keys.secret).decode(),
    }  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-c", MUTATIONS],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert said.returncode == 0, (given["seed"], said.stderr[-2000:])
    found = json.loads(said.stdout)
    assert found.pop("blobs refused") + found.pop("blobs read") == 2000
    assert sum(found.values()) == 2000
    assert set(found) == {
        "read", "a chunk of another size than the profile's", "a coefficient is not below its modulus",
        "a ciphertext is transparent: anybody could read it",
    }  # fmt: skip
    assert all(count > 50 for count in found.values()), found
