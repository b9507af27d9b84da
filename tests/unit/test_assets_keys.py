"""Keys come from one private file; what they protect opens at its own place only, and its length tells nothing."""

import stat

import pytest

from assets.blocks import (
    Block,
    Place,
    block_count_for,
    check_digest,
    close_block,
    digest_of,
    new_version_key,
    open_block,
    padded_bytes,
)
from assets.keys import KeyRing, pad, unpad
from core.errors import Unavailable
from tests.assets_builders import declared, example

RING = KeyRing(b"m" * 32)
PLACE = Place("v-one", 3, 8)


@pytest.fixture
def key_file(tmp_path):
    KeyRing.create(tmp_path / "keys" / "master.key")
    return tmp_path / "keys" / "master.key"


def test_the_key_file_is_private_random_and_never_overwritten(key_file, tmp_path):
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o400
    content = key_file.read_bytes()
    assert len(content) == 32
    KeyRing.create(key_file)
    assert key_file.read_bytes() == content
    KeyRing.create(tmp_path / "other")
    assert (tmp_path / "other").read_bytes() != content


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o420])
def test_a_key_file_that_others_may_read_or_write_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(Unavailable) as caught:
        KeyRing.open(key_file)
    assert caught.value.code == "keys.exposed"


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_key_file_that_is_not_a_key_is_refused(tmp_path, content):
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o400)
    for broken in (path, tmp_path / "absent"):
        with pytest.raises(Unavailable) as caught:
            KeyRing.open(broken)
        assert caught.value.code == "keys.unreadable"


def test_two_servers_with_one_key_file_agree_and_another_key_opens_nothing(key_file):
    first, second = KeyRing.open(key_file), KeyRing.open(key_file)
    key = new_version_key()
    assert second.unwrap("v-one", first.wrap("v-one", key)) == key
    assert second.unseal("report", "v-one", first.seal("report", "v-one", b"text", 100)) == b"text"
    assert first.placement_key("patients", "pid") == second.placement_key("patients", "pid")
    for act in (
        lambda: RING.unwrap("v-one", first.wrap("v-one", key)),
        lambda: RING.unseal("report", "v-one", first.seal("report", "v-one", b"text", 100)),
    ):
        with pytest.raises(Unavailable) as caught:
            act()
        assert caught.value.code == "keys.mismatch"


def test_what_is_wrapped_or_sealed_opens_under_its_own_name_only():
    wrapped, sealed = RING.wrap("v-one", b"k" * 32), RING.seal("report", "v-one", b"text", 100)
    for act in (
        lambda: RING.unwrap("v-two", wrapped),
        lambda: RING.unwrap("v-one", wrapped[:-1]),
        lambda: RING.unwrap("v-one", "not base64"),
        lambda: RING.unseal("report", "v-two", sealed),
        lambda: RING.unseal("other", "v-one", sealed),
        lambda: RING.unseal("report", "v-one", sealed[:-1]),
        lambda: RING.unseal("report", "v-one", b""),
        lambda: RING.unseal("report", "v-one", bytes([sealed[0] ^ 1]) + sealed[1:]),
    ):
        with pytest.raises(Unavailable):
            act()


def test_placement_and_sketch_keys_differ_by_every_name_and_use():
    keys = [
        RING.placement_key("a", "b"),
        RING.placement_key("b", "a"),
        RING.placement_key("ab", ""),
        RING.placement_key("a", "c"),
        RING.sketch_key("a"),
        RING.sketch_key("b"),
    ]
    assert len(set(keys)) == len(keys)


def test_the_length_of_what_is_sealed_or_padded_tells_nothing():
    sizes = {len(RING.seal("report", "v-one", b"x" * length, 100)) for length in (0, 1, 50, 92)}
    assert sizes == {100 + 12 + 16}
    assert unpad(pad(b"a\0\0", 20)) == b"a\0\0"
    with pytest.raises(ValueError, match="padded size"):
        pad(b"x" * 93, 100)


def test_nothing_sealed_twice_looks_the_same():
    assert RING.wrap("v", b"k" * 32) != RING.wrap("v", b"k" * 32)
    key = new_version_key()
    assert close_block(b"rows", 100, key, PLACE) != close_block(b"rows", 100, key, PLACE)


def test_a_block_opens_at_its_own_place_under_its_own_key_only():
    key = new_version_key()
    sealed = close_block(b"rows", 100, key, PLACE)
    assert open_block(sealed, key, PLACE) == b"rows"
    assert b"rows" not in sealed
    for place in (Place("v-two", 3, 8), Place("v-one", 2, 8), Place("v-one", 3, 16)):
        with pytest.raises(Unavailable):
            open_block(sealed, key, place)
    for damaged in (b"", sealed[:-1], sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:]):
        with pytest.raises(Unavailable) as caught:
            open_block(damaged, key, PLACE)
        assert caught.value.code == "blocks.damaged"
    with pytest.raises(Unavailable):
        open_block(sealed, new_version_key(), PLACE)


def test_a_block_that_was_replaced_is_noticed_before_it_is_opened():
    sealed = close_block(b"rows", 100, new_version_key(), PLACE)
    check_digest(sealed, Block(3, "path", len(sealed), digest_of(sealed)))
    with pytest.raises(Unavailable):
        check_digest(sealed + b"x", Block(3, "path", len(sealed), digest_of(sealed)))


def test_the_number_of_blocks_is_a_power_of_two_that_follows_the_declared_rows():
    assert [block_count_for(n) for n in (1, 340_000, 1_000_000, 1_100_000, 2_000_000, 10**9)] == [8, 8, 8, 16, 16, 4096]


def test_the_padded_size_follows_the_declaration_alone():
    small, large = (
        declared(),
        declared(size="{rows: 100000, units: 40}", budget="{accountant: basic, epsilon: 4, delta: 0}"),
    )
    assert padded_bytes(small.schema, 8) < padded_bytes(large.schema, 8)
    assert padded_bytes(large.schema, 8) > padded_bytes(large.schema, 16)
    assert padded_bytes(example("traffic/flights.yaml").schema, 8) % 65536 == 0
