"""Partials are hostile bytes: the reader lets pass what an honest pass writes and nothing else; totals do not depend on order."""

from __future__ import annotations

import ast
import contextlib
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.sql import partial_bytes
from privacy.sql.partial_bytes import LARGEST, Reader, SetShape, Shape, accepted_frames
from privacy.sql.totals import combine
from tests.unit.slow_pass import Slow, some_block, some_instruction

FORMS = {"integer": ("integer", 13), "truth": ("boolean", 6), "code": ("text", 53), "text": ("text", 53)}
MEASURES = (("units", 1), ("sum", 1), ("distinct", 0), ("bins", 2), ("distinct", 0))
SHAPE = Shape(MEASURES, (SetShape((("text", 12), ("boolean", 6)), 40, 60), SetShape((), 1, 60)))


def shape_of(instruction) -> Shape:
    measures = [
        (
            m["kind"],
            0 if m["kind"] == "distinct" else (m["high"] - m["low"]) // m["step"] + 1 if m["kind"] == "bins" else 1,
        )
        for m in instruction["measures"]
    ]
    keys = [FORMS[key["kind"]] for key in instruction["keys"]]
    return Shape(
        tuple(measures),
        tuple(SetShape(tuple(keys[i] for i in entry["keys"]), 10_000, 10_000) for entry in instruction["sets"]),
    )


def text_key(text: bytes, flag: bytes = b"\x00") -> bytes:
    return b"\x01" + struct.pack(">I", len(text)) + text + flag


def packed_set(cells, records=(), width=None) -> bytes:
    """Cells are pairs of key and values; `records` has for each distinct measure pairs of group index and 16 bytes."""
    width = len(cells[0][1]) if width is None else width
    out = [
        struct.pack("<IH", len(cells), width),
        *(struct.pack("<H", len(key)) for key, _ in cells),
        *(key for key, _ in cells),
    ]
    out += [struct.pack("<q", values[column]) for column in range(width) for _, values in cells]
    for pairs in records:
        out += [struct.pack("<Q", len(pairs)), *(struct.pack("<I", group) + data for group, data in pairs)]
    return b"".join(out)


def packed(*sets, magic=b"BNYP\x02") -> bytes:
    return magic + bytes([len(sets)]) + b"".join(sets)


def repacked(parts, shape) -> bytes:
    width = len(shape.lowest)
    sets = []
    for part in parts:
        n = len(part.keys)
        columns = struct.unpack(f"<{n * width}q", part.columns)
        cells = [(key, [columns[c * n + i] for c in range(width)]) for i, key in enumerate(part.keys)]
        records = [
            [(struct.unpack("<I", r[at : at + 4])[0], r[at + 4 : at + 20]) for at in range(0, len(r), 20)]
            for r in part.records
        ]
        sets.append(packed_set(cells, records, width))
    return packed(*sets)


H = [bytes([n]) * 16 for n in range(5)]
CELLS = [(text_key(b"Li"), (3, -4, 1, 0)), (text_key(b"Zyx", b"\x01\x00\x00\x00\x01\x01"), (1, 7, 0, 2))]
RECORDS = ([(0, H[1]), (0, H[2]), (1, H[1])], [(1, H[3])])
FIRST = packed_set(CELLS, RECORDS)
SECOND = packed_set([(b"", (4, 3, 1, 2))], ([(0, H[0])], []))
GOOD = packed(FIRST, SECOND)
EMPTY = packed(packed_set([], ([], []), 4), packed_set([], ([], []), 4))


def test_a_well_formed_partial_is_read():
    first, second = Reader(SHAPE).parse(GOOD)
    assert first.keys == [key for key, _ in CELLS]
    assert np.frombuffer(first.columns, "<i8").tolist() == [3, 1, -4, 7, 1, 0, 0, 2]
    assert (second.keys, second.records) == ([b""], [struct.pack("<I", 0) + H[0], b""])
    assert [part.keys for part in Reader(SHAPE).parse(EMPTY)] == [[], []]
    assert repacked(Reader(SHAPE).parse(GOOD), SHAPE) == GOOD


def test_what_the_pass_writes_is_read_and_adds_up():
    for number in range(120):
        r = random.Random(number)
        instruction = some_instruction(r)
        shape = shape_of(instruction)
        blocks = [some_block(r, instruction) for _ in range(4)]
        sheaves = [Slow(instruction, [block]).packed() for block in blocks]
        together = Slow(instruction, blocks)
        for found, (cells, records) in zip(combine(sheaves, shape).sets, together.sets, strict=True):
            assert found.keys == tuple(sorted(cells))
            assert found.values.dtype == np.int64
            for key, row in zip(found.keys, found.values.tolist(), strict=True):
                expected, columns = [], list(cells[key])
                for index, (kind, width) in enumerate(shape.measures):
                    expected += (
                        [sum(m == index and k == key for m, k, _ in records)] if kind == "distinct" else columns[:width]
                    )
                    columns = columns[width:]
                assert row == expected


def well_formed(part, shape, set_shape) -> bool:
    """What the plan claims, said again without the reader's own words."""
    values = np.frombuffer(part.columns, "<i8").reshape(len(shape.lowest), len(part.keys))
    lowest = [-LARGEST if kind == "sum" else 0 for kind, width in shape.measures for _ in range(width)]
    in_range = all((values[c] >= lowest[c]).all() and (values[c] <= LARGEST).all() for c in range(len(lowest)))
    records = [r[at : at + 20] for r in part.records for at in range(0, len(r), 20)]
    return (
        in_range
        and len(part.keys) <= set_shape.max_groups
        and len(records) <= set_shape.max_values
        and part.keys == sorted(set(part.keys))
    )


def test_every_single_byte_mutation_is_refused_or_within_claims():
    accepted = 0
    for at in range(len(GOOD)):
        for byte in range(256):
            data = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
            try:
                parts = Reader(SHAPE).parse(data)
            except ValueError:
                continue
            accepted += 1
            assert repacked(parts, SHAPE) == data
            assert all(well_formed(part, SHAPE, shape) for part, shape in zip(parts, SHAPE.sets, strict=True))
    assert accepted > len(GOOD)


def test_every_prefix_and_every_longer_form_is_refused():
    for data in [GOOD[:size] for size in range(len(GOOD))] + [GOOD + b"\x00", GOOD + GOOD]:
        with pytest.raises(ValueError):
            Reader(SHAPE).parse(data)


@pytest.mark.parametrize(
    "data",
    [
        packed(FIRST, SECOND, magic=b"BNYP\x01"),
        packed(FIRST),
        packed(FIRST, SECOND, SECOND),
        packed(packed_set(CELLS[::-1], ([], [])), SECOND),
        packed(packed_set([CELLS[0]] * 2, ([], [])), SECOND),
        packed(packed_set([(key, values[:3]) for key, values in CELLS], ([], [])), SECOND),
        packed(packed_set([(text_key(b"%04d" % n), (1, 1, 1, 1)) for n in range(41)], ([], [])), SECOND),
        packed(FIRST, packed_set([(b"", (1, 1, 1, 1)), (b"\x00", (1, 1, 1, 1))], ([], []))),
        packed(FIRST, packed_set([(b"\x00", (1, 1, 1, 1))], ([], []))),
        *(
            packed(packed_set([(key, (1, 1, 1, 1))], ([], [])), SECOND)
            for key in (
                *(
                    b"",
                    b"\x00",
                    b"\x02\x00",
                    text_key(b"\xff"),
                    text_key(b"\xed\xa0\x80"),
                    text_key(b"x" * 8),
                    text_key(b"a") + b"\x00",
                ),
                *(
                    text_key(b"a", b"\x01\x00\x00\x00\x01\x02"),
                    text_key(b"a", b"\x01\x00\x00\x00\x02\x00\x00"),
                    b"\x01\xff\xff\xff\xff\x00",
                ),
            )
        ),
        *(
            packed(packed_set([(text_key(b"a"), values)], ([], [])), SECOND)
            for values in (
                (-1, 0, 0, 0),
                (2**62, 0, 0, 0),
                (0, 2**62, 0, 0),
                (0, -(2**62), 0, 0),
                (0, 0, -1, 0),
                (0, 0, 0, -(2**63)),
            )
        ),
        *(
            packed(packed_set(CELLS, records), SECOND)
            for records in (
                *(([(0, H[1])] * 2, []), ([(0, H[2]), (0, H[1])], []), ([(1, H[1]), (0, H[2])], []), ([], [(2, H[1])])),
                (
                    [(0, struct.pack(">2Q", 0, n)) for n in range(31)],
                    [(1, struct.pack(">2Q", 0, n)) for n in range(30)],
                ),
            )
        ),
        packed(FIRST[: len(FIRST) - 28] + struct.pack("<Q", 2**63) + FIRST[len(FIRST) - 20 :], SECOND),
    ],
)
def test_what_no_honest_pass_writes_is_refused(data):
    with pytest.raises(ValueError):
        Reader(SHAPE).parse(data)


@pytest.mark.parametrize(("form", "low", "high"), [(form, *ends) for form, ends in partial_bytes._RANGES.items()])
def test_whole_numbers_in_keys_stay_within_their_type(form, low, high):
    shape = Shape((("rows", 1),), (SetShape(((form, 13),), 9),))
    for value, good in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
        if -(2**63) <= value < 2**63:
            data = packed(packed_set([(b"\x01\x00\x00\x00\x08" + value.to_bytes(8, "big", signed=True), (1,))]))
            if good:
                assert len(Reader(shape).parse(data)[0].keys) == 1
            else:
                with pytest.raises(ValueError):
                    Reader(shape).parse(data)


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_noise_is_refused(data):
    for candidate in (data, b"BNYP\x02\x02" + data, GOOD[:20] + data):
        with contextlib.suppress(ValueError):
            assert repacked(Reader(SHAPE).parse(candidate), SHAPE) == candidate


def test_the_longest_honest_partial_is_as_long_as_claimed():
    keys = [(text_key(b"%07d" % n, b"\x01\x00\x00\x00\x01\x00"), (1, 1, 1, 1)) for n in range(40)]
    records = [(0, struct.pack(">2Q", 0, n)) for n in range(60)]
    data = packed(packed_set(keys, (records, [])), packed_set([(b"", (1, 1, 1, 1))], (records, [])))
    assert len(data) == SHAPE.max_bytes
    assert len(Reader(SHAPE).parse(data)) == 2


def test_a_shape_survives_its_text():
    for shape in (SHAPE, Shape((("rows", 1),), (SetShape((), 1),))):
        again = Shape.of(shape.text())
        assert (again.measures, [vars(part) for part in again.sets]) == (
            shape.measures,
            [vars(part) for part in shape.sets],
        )
    for text in ("", "rows", "rows:1;", "rows:1;/1", "rows:x;/1/0", "people:1;/1/0", "distinct:1;/1/0", "rows:0;/1/0"):
        with pytest.raises(ValueError):
            Shape.of(text)


def frame(index: int, data: bytes, status: int = 0) -> bytes:
    return struct.pack(">IBI", index, status, len(data)) + data


def test_frames_pass_whose_partial_is_well_formed():
    bad = GOOD[:-1] + b"\x07"
    output = frame(0, GOOD) + frame(1, bad) + frame(2, b"", 1) + frame(3, EMPTY)
    assert list(accepted_frames(output, SHAPE)) == [frame(0, GOOD), frame(3, EMPTY)]
    assert list(accepted_frames(output + b"rest", SHAPE)) == [frame(0, GOOD), frame(3, EMPTY)]
    assert list(accepted_frames(struct.pack(">IBI", 0, 0, 2**32 - 1) + output, SHAPE)) == []
    assert list(accepted_frames(frame(0, GOOD)[:-1], SHAPE)) == []


def test_the_reader_is_a_program_that_imports_nothing():
    source = Path(partial_bytes.__file__)
    tree = ast.parse(source.read_text())
    runtime = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {getattr(node, "module", None) or node.names[0].name for node in runtime} == {"__future__", "sys"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(source), SHAPE.text()],
        input=frame(5, GOOD) + frame(6, b"x"),
        capture_output=True,
        check=True,
    )
    assert done.stdout == frame(5, GOOD)


# --- Totals. ---------------------------------------------------------------------------------------------------------


def rows_of(totals):
    return [(found.keys, found.values.tolist()) for found in totals.sets]


def hostile_partial(r) -> bytes:
    def cell():
        return (
            r.choice([0, 1, LARGEST]),
            r.choice([0, -LARGEST, LARGEST, r.randint(-LARGEST, LARGEST)]),
            r.randint(0, 9),
            r.randint(0, LARGEST),
        )

    keys = sorted({text_key(b"k%d" % r.randrange(12)) for _ in range(8)})
    distinct = [sorted({(r.randrange(len(keys)), H[r.randrange(5)]) for _ in range(r.randrange(9))}) for _ in range(2)]
    return packed(
        packed_set([(key, cell()) for key in keys], distinct),
        packed_set([(b"", cell())], ([(0, H[r.randrange(5)])], [])),
    )


@pytest.mark.parametrize("seed", range(20))
def test_totals_are_sums_in_any_order_and_never_wrap(seed):
    r = random.Random(seed)
    partials = [hostile_partial(r) for _ in range(30)]
    totals = combine(partials, SHAPE)
    assert rows_of(combine(r.sample(partials, 30), SHAPE)) == rows_of(totals)
    assert rows_of(combine(iter(sorted(partials)), SHAPE)) == rows_of(totals)
    for index, found in enumerate(totals.sets):
        sums, united = {}, {}
        for data in partials:
            part = Reader(SHAPE).parse(data)[index]
            columns = np.frombuffer(part.columns, "<i8").reshape(4, len(part.keys)).T.tolist()
            for key, row in zip(part.keys, columns, strict=True):
                sums[key] = [a + b for a, b in zip(sums.get(key, [0] * 4), row, strict=True)]
            for measure, records in enumerate(part.records):
                for at in range(0, len(records), 20):
                    group = part.keys[int.from_bytes(records[at : at + 4], "little")]
                    united.setdefault((group, measure), set()).add(records[at + 4 : at + 20])
        assert found.keys == tuple(sorted(sums))
        for key, row in zip(found.keys, found.values.tolist(), strict=True):
            units, total, low, high = (max(-LARGEST, min(LARGEST, value)) for value in sums[key])
            assert row == [units, total, len(united.get((key, 0), ())), low, high, len(united.get((key, 1), ()))]


def test_blocks_in_other_sheaves_give_equal_totals():
    """One partial of all blocks, or one each, or any between: the totals are equal."""
    for number in range(40):
        r = random.Random(number)
        instruction = some_instruction(r)
        shape, blocks = shape_of(instruction), [some_block(r, instruction) for _ in range(6)]
        cut = r.randint(0, 6)
        found = [
            rows_of(combine([Slow(instruction, part).packed() for part in parts], shape))
            for parts in ([blocks], [blocks[:cut], blocks[cut:]], [[block] for block in blocks[::-1]])
        ]
        assert found[0] == found[1] == found[2]


def test_no_partial_and_empty_partials_are_empty_tables():
    assert rows_of(combine([], SHAPE)) == rows_of(combine([EMPTY] * 3, SHAPE)) == [((), []), ((), [])]
    assert combine([], SHAPE).sets[0].values.shape == (0, 6)


def test_many_distinct_values_are_united_as_they_come():
    shape = Shape((("rows", 1), ("distinct", 0)), (SetShape((), 1, 50_000),))
    whole = sorted((0, struct.pack(">2Q", n * 0x9E3779B97F4A7C15 % 2**64, n)) for n in range(60_000))
    parts = [sorted(whole[at : at + 40_000]) for at in (0, 10_000, 20_000)] * 2
    data = [packed(packed_set([(b"", (1,))], (part,))) for part in parts]
    assert rows_of(combine(data, shape)) == [((b"",), [[6, 60_000]])]


def test_totals_say_nothing_when_printed():
    assert "Zyx" not in repr(combine([GOOD], SHAPE))


def test_a_sheaf_of_many_groups_costs_milliseconds():
    """25 sheaves of 10,000 groups with 4 measures: read in the limited process and merged in well under a second of the gate."""
    shape = Shape(
        (("units", 1), ("rows", 1), ("nonnull", 1), ("sum", 1)), (SetShape((("integer", 13), ("text", 20)), 10_000),)
    )
    r = random.Random(1)
    keys = sorted(
        b"\x01\x00\x00\x00\x08" + n.to_bytes(8, "big") + b"\x01" + struct.pack(">I", 8) + b"cat%05d" % n
        for n in range(10_000)
    )
    partials = [packed(packed_set([(key, [r.randrange(99)] * 4) for key in keys])) for _ in range(3)]
    sheaves = [partials[n % 3] for n in range(25)]
    output = b"".join(frame(n, data) for n, data in enumerate(sheaves))
    best = {"read": 9.0, "merged": 9.0}
    for _ in range(3):
        started = time.process_time()
        assert len(list(accepted_frames(output, shape))) == 25
        best["read"] = min(best["read"], time.process_time() - started)
        started = time.process_time()
        assert combine(sheaves, shape).sets[0].values.shape == (10_000, 4)
        best["merged"] = min(best["merged"], time.process_time() - started)
    assert max(best.values()) < 0.5, best
