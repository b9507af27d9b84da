"""Partials are hostile bytes: the parser lets pass what an honest runner writes, and nothing else."""

from __future__ import annotations

import ast
import random
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.sql import partials
from privacy.sql.combine import combine, read_partial
from privacy.sql.partials import LARGEST, Shape, parse
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


@pytest.mark.parametrize("plan", [PLAN, ONE_KEY, NO_KEY])
def test_the_shape_survives_as_one_line(plan):
    again = Shape.of(plan.shape.text())
    assert (again.keys, again.measures, again.max_groups) == (
        plan.shape.keys,
        plan.shape.measures,
        plan.shape.max_groups,
    )
    assert again.max_bytes == plan.max_partial_bytes


def frame(index: int, data: bytes, status: int = 0, size: int | None = None) -> bytes:
    return struct.pack(">IBI", index, status, len(data) if size is None else size) + data


def test_the_reader_runs_alone_with_the_standard_library_and_passes_on_what_is_well_formed(honest):
    frames = [
        frame(0, honest),
        frame(1, honest[:-1]),
        frame(2, b"", status=1),
        frame(7, packed([], len(PLAN.measures))),
    ]
    command = [sys.executable, "-I", "-S", partials.__file__, PLAN.shape.text()]
    found = subprocess.run(command, input=b"".join(frames) + b"rubbish at the end", check=True, capture_output=True)
    assert found.stdout == frames[0] + frames[3]
    code = "import sys; before = set(sys.modules); exec(open(sys.argv[1]).read(), {'__name__': 'reader'}); print(sorted(set(sys.modules) - before))"
    loaded = subprocess.run([*command[:3], "-c", code, partials.__file__], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(loaded.stdout)) <= {"__future__"}


@pytest.mark.parametrize("tail", [b"", b"\x00" * 8, frame(3, b"", size=2**32 - 1), frame(3, b"", size=5), b"\xff" * 9])
def test_a_broken_frame_ends_the_reading_and_keeps_what_came_before(honest, tail):
    good = frame(0, honest)
    assert b"".join(partials.accepted_frames(good + tail + good, PLAN.shape)) in (good, good + good)
    assert b"".join(partials.accepted_frames(good + tail, PLAN.shape)) == good


def test_reading_is_linear_in_the_number_of_groups():
    shape = Shape((("integer", 13),), ("rows",), 200_000)
    cells = [(text_key(n.to_bytes(8, "big", signed=True)), (1,)) for n in range(100_000)]
    assert len(parse(packed(cells, 1), shape)) == 100_000
