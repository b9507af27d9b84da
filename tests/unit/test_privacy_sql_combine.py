"""Partials are hostile bytes: the parser lets pass what an honest runner writes, and nothing else."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.sql.combine import LARGEST, Shape, combine, parse, read_partial
from tests.unit.sql_world import partial_of, plan_of, some_rows, write_block

SQL = "SELECT surname, age, seen, urgent, arrived, cost, COUNT(*), AVG(score) FROM visits GROUP BY 1, 2, 3, 4, 5, 6"
PLAN = plan_of(SQL, groups=50)
ONE_KEY = plan_of("SELECT surname, COUNT(*), SUM(score) FROM visits GROUP BY surname")
NO_KEY = plan_of("SELECT COUNT(*) FROM visits")


def text_key(text: bytes) -> bytes:
    return b"\x01" + struct.pack(">I", len(text)) + text


def packed(cells, width=3, magic=b"BNYP\x01", groups=None) -> bytes:
    parts = [magic, struct.pack(">IH", len(cells) if groups is None else groups, width)]
    for key, values in cells:
        parts += [struct.pack(">H", len(key)), key, *(value.to_bytes(16, "big", signed=True) for value in values)]
    return b"".join(parts)


GOOD = [(text_key(b"Li"), (3, -4, 1)), (text_key(b"Zyx"), (1, 0, 1))]


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> bytes:
    path = write_block(tmp_path_factory.mktemp("block") / "0.parquet", some_rows(60, 4))
    return partial_of(PLAN, path)


def test_a_well_formed_partial_is_read():
    assert read_partial(packed(GOOD), ONE_KEY) == dict(GOOD)
    assert read_partial(packed([]), ONE_KEY) == {}
    assert read_partial(packed([(b"", (5,))], width=1), NO_KEY) == {b"": (5,)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BNYP",
        packed(GOOD, magic=b"BNYP\x02"),
        packed(GOOD, magic=b"PK\x03\x04\x01"),
        packed(GOOD, width=2),
        packed(GOOD, groups=1),
        packed(GOOD, groups=3),
        packed(GOOD, groups=2**32 - 1),
        packed(GOOD[::-1]),
        packed([GOOD[0], GOOD[0]]),
        packed(GOOD) + b"\x00",
        packed(GOOD)[:-1],
        packed([(b"", (1, 1, 1))]),
        packed([(b"\x02", (1, 1, 1))]),
        packed([(b"\x00\x00", (1, 1, 1))]),
        packed([(text_key(b"\xff\xfe"), (1, 1, 1))]),
        packed([(text_key(b"\xed\xa0\x80"), (1, 1, 1))]),
        packed([(text_key(b"x" * 49), (1, 1, 1))]),
        packed([(b"\x01\xff\xff\xff\xff", (1, 1, 1))]),
        packed([(b"\x01\x00\x00\x00", (1, 1, 1))]),
        packed([(text_key(b"a"), (-1, 0, 1))]),
        packed([(text_key(b"a"), (2**62, 0, 1))]),
        packed([(text_key(b"a"), (1, 2**62, 1))]),
        packed([(text_key(b"a"), (1, -(2**62), 1))]),
        packed([(text_key(b"a"), (1, 0, -(2**127)))]),
        packed([(text_key(b"%04d" % n), (1, 1, 1)) for n in range(1201)]),
        b"\x80\x04\x95\x00\x00\x00\x00",
    ],
)
def test_bytes_that_no_honest_runner_writes_are_not_a_partial(data):
    with pytest.raises(ValueError):
        read_partial(data, ONE_KEY)


def key_of(*parts: bytes | None) -> bytes:
    return b"".join(b"\x00" if part is None else text_key(part) for part in parts)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (1, bytes(7)),
        (1, bytes(9)),
        (2, (-719_163).to_bytes(8, "big", signed=True)),
        (2, (2_932_897).to_bytes(8, "big", signed=True)),
        (3, b"\x02"),
        (3, b""),
        (4, (2**62).to_bytes(8, "big", signed=True)),
        (5, (10**18).to_bytes(8, "big", signed=True)),
    ],
)
def test_a_key_value_outside_its_type_is_refused(place, value):
    parts = [b"Li", bytes(8), bytes(8), b"\x01", bytes(8), bytes(8)]
    width = len(PLAN.measures)
    assert read_partial(packed([(key_of(*parts), (1,) * width)], width), PLAN)
    parts[place] = value
    with pytest.raises(ValueError):
        read_partial(packed([(key_of(*parts), (1,) * width)], width), PLAN)


def test_the_longest_honest_partial_fits_and_one_byte_more_does_not():
    key = text_key(b"x" * 44)
    cells = [(key + b"%04d" % n, (1, 1, 1)) for n in range(ONE_KEY.max_groups_in_partial)]
    cells = [(text_key(k[5:]), values) for k, values in cells]
    data = packed(cells)
    assert len(data) == ONE_KEY.max_partial_bytes
    assert len(read_partial(data, ONE_KEY)) == ONE_KEY.max_groups_in_partial
    with pytest.raises(ValueError):
        read_partial(data + b"\x00", ONE_KEY)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=120).map(lambda tail: packed(GOOD)[:11] + tail))
def test_any_bytes_are_a_partial_or_a_value_error(data):
    try:
        read_partial(data, ONE_KEY)
    except ValueError:
        return


def test_a_damaged_partial_is_refused_or_still_within_the_claim(honest):
    pick = random.Random(3)
    refused = 0
    for _ in range(2000):
        data = bytearray(honest)
        for _ in range(pick.randrange(1, 4)):
            data[pick.randrange(len(data))] = pick.randrange(256)
        if pick.random() < 0.3:
            del data[pick.randrange(len(data)) :]
        try:
            cells = read_partial(bytes(data), PLAN)
        except ValueError:
            refused += 1
        else:
            assert len(cells) <= PLAN.max_groups_in_partial
            assert all(abs(value) <= LARGEST for values in cells.values() for value in values)
    assert refused > 500


def test_an_honest_partial_is_read_back_whole(honest):
    cells = read_partial(honest, PLAN)
    assert packed(sorted(cells.items()), len(PLAN.measures)) == honest


def test_totals_are_clamped_and_not_wrapped():
    big = {b"": (LARGEST,)}
    assert combine([big] * 5, NO_KEY).cells == {b"": (LARGEST,)}
    low = {text_key(b"a"): (0, -LARGEST, 0)}
    assert combine([low] * 5, ONE_KEY).cells == {text_key(b"a"): (0, -LARGEST, 0)}


def test_the_shape_survives_json():
    assert Shape.from_json(json.loads(json.dumps(PLAN.shape.to_json()))) == PLAN.shape


def test_the_parser_runs_alone_in_a_process_and_loads_nothing_heavy(honest):
    shape = json.dumps(PLAN.shape.to_json()).encode()

    def verdict(data: bytes) -> int:
        message = struct.pack(">I", len(shape)) + shape + data
        return subprocess.run([sys.executable, "-m", "privacy.sql.combine"], input=message, check=False).returncode

    assert verdict(honest) == 0
    assert verdict(honest[:-1]) == 1
    assert verdict(b"") == 1
    code = "import sys, privacy.sql.combine; print([m for m in ('opendp', 'sqlglot', 'numpy', 'pyarrow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_reading_is_linear_in_the_number_of_groups():
    shape = Shape((("integer", 13),), ("rows",), 200_000, 10**8)
    cells = [(text_key(n.to_bytes(8, "big", signed=True)), (1,)) for n in range(100_000)]
    assert len(parse(packed(cells, 1), shape)) == 100_000
