"""Sums of ciphertexts: the same as with whole numbers, whatever the count, and exact after decryption."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from privacy.encrypted import bfv, sums
from privacy.encrypted.mask import mask
from privacy.encrypted.profiles import PROFILES, profile_named
from privacy.encrypted.sums import add
from tests.unit.encrypted_world import decryptor, pair

EACH_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


def chunks_like(profile, count):
    """Arrays of the form of ciphertexts, with the largest coefficient in one place."""
    chance = np.random.default_rng(20)
    made = []
    for _ in range(count):
        chunk = np.empty(profile.shape, np.uint64)
        for at, modulus in enumerate(profile.moduli):
            chunk[:, :, at] = chance.integers(0, modulus, chunk[:, :, at].shape, np.uint64)
            chunk[0, 0, at, 0] = modulus - 1
        made.append(chunk)
    return made


def by_whole_numbers(profile, chunks):
    """What `add` claims, in Python's unbounded integers, at every 97th coefficient."""
    total = sum(chunk[..., ::97].astype(object) for chunk in chunks)
    for at, modulus in enumerate(profile.moduli):
        total[:, :, at] %= modulus
    return total


@EACH_PROFILE
@pytest.mark.parametrize("count", [1, 2, 14, 15, 16, 17, 31, 46])
def test_a_sum_is_that_of_whole_numbers(profile, count):
    chunks = chunks_like(profile, count)
    assert (add(profile, chunks)[..., ::97] == by_whole_numbers(profile, chunks)).all()


@EACH_PROFILE
def test_no_word_overflows_whatever_the_coefficients(profile):
    largest = np.zeros(profile.shape, np.uint64)
    for at, modulus in enumerate(profile.moduli):
        largest[:, :, at] = modulus - 1
    for count in (15, 16, 17, 100):
        found = add(profile, [largest] * count)
        for at, modulus in enumerate(profile.moduli):
            assert (found[:, :, at] == count * (modulus - 1) % modulus).all()


def test_a_sum_of_nothing_is_zero_and_another_form_is_refused():
    profile = profile_named("sum58")
    assert not add(profile, []).any()
    with pytest.raises(ValueError, match="shape"):
        add(profile, [np.zeros((1, 2, 2, 4), np.uint64)])
    with pytest.raises(TypeError):
        add(profile, [np.zeros(profile.shape, np.int64)])


@EACH_PROFILE
def test_a_thousand_additions_decrypt_exactly(profile):
    """Of one ciphertext, whose noise grows a thousandfold; of independent ones it would grow by the root."""
    most = (profile.span - 1) // 2 // 1000
    values = [most, -most, 1, -1, *range(-2044, profile.slots - 2048)]
    chunk = bfv.encrypt(pair(profile.name).public, profile, values)
    assert decryptor(profile.name).decrypt(add(profile, [chunk] * 1000)) == [1000 * value for value in values]


def test_two_moduli_hold_sums_beyond_64_bits_under_one_noise():
    profile, noise = profile_named("crt115"), [12345, -(2**65)]
    values = [2**70, -(2**66), *([0] * (profile.slots - 2))]
    chunks = [bfv.encrypt(pair("crt115").public, profile, values) for _ in range(5)]
    found = decryptor("crt115").decrypt(add(profile, [*chunks, mask(pair("crt115").public, profile, noise)]))
    assert found[:2] == [5 * 2**70 + 12345, -5 * 2**66 - 2**65]


def test_mapped_files_are_added_without_a_change_to_them(tmp_path):
    profile = profile_named("sum34")
    chunks = chunks_like(profile, 40)
    path = tmp_path / "chunks"
    path.write_bytes(b"".join(chunk.tobytes() for chunk in chunks))
    before = path.read_bytes()
    mapped = np.memmap(path, "<u8", "r", shape=(len(chunks), *profile.shape))
    found = add(profile, (mapped[number] for number in range(len(chunks))))
    assert not isinstance(found, np.memmap)
    assert (found == add(profile, chunks)).all()
    assert path.read_bytes() == before


def test_the_file_works_alone(tmp_path):
    """The container image has a copy of it and nothing else of ours."""
    shutil.copy(Path(sums.__file__), tmp_path / "sums.py")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import numpy as np, sums
class Said:
    moduli, shape = (97, 89), (1, 2, 2, 4)
total = sums.add(Said, [np.full(Said.shape, 80, np.uint64)] * 3)
assert (total[:, :, 0] == 240 % 97).all() and (total[:, :, 1] == 240 % 89).all()
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{"privacy", "tenseal", "core", "pyarrow"}}))
"""
    said = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert said.stdout.strip() == "[]"
