"""One unit changes one program block and nothing else, to the byte; and no block's file holds a byte of another's rows (R11, R12)."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.physical import parquet_bytes
from jobs import split
from jobs.lane import LaneWork, TableShare
from jobs.program_lane import ProgramForm
from privacy.programs.outputs import Aggregate, Output

STORED = 8
SEED = bytes(range(32))
OUTPUT = Output("x", None, Decimal(0), Decimal(1), Decimal(0), Aggregate.MEAN)


def rows(units):
    """A stored block's rows, in order of unit: texts that name their unit, nulls, and every kind of type."""
    units = sorted(f"u{unit}" for unit in units for _ in range(1 + unit % 3))
    return pa.table({
        "unit": pa.array(units, pa.utf8()),
        "note": pa.array([None if int(unit[1:]) % 5 == 0 else f"MARK-{unit}-END" for unit in units], pa.utf8()),
        "flag": pa.array([int(unit[1:]) % 2 == 0 for unit in units], pa.bool_()),
        "cost": pa.array([Decimal(int(unit[1:])) / 4 for unit in units], pa.decimal128(18, 2)),
        "day": pa.array([dt.date(2026, 1, 1 + int(unit[1:]) % 28) for unit in units], pa.date32()),
    })  # fmt: skip


def parts_of(units, parts=5, seed=SEED):
    return [
        split.ipc_bytes(part) for part in split.split(split.read_block(parquet_bytes(rows(units))), "unit", parts, seed)
    ]


@settings(deadline=None)
@given(st.sets(st.integers(0, 400), min_size=2, max_size=60), st.integers(1, 12))
def test_one_unit_less_changes_the_file_of_its_own_block_only(units, parts):
    whole = parts_of(units, parts)
    gone = min(units)
    left = parts_of(units - {gone}, parts)
    changed = [index for index in range(parts) if whole[index] != left[index]]
    assert changed == [split.part_of(f"u{gone}", parts, SEED)]


def test_every_row_is_in_the_block_of_its_unit_and_in_no_other():
    files = parts_of(range(300))
    tables = [pa.ipc.open_file(pa.BufferReader(file)).read_all() for file in files]
    assert sum(table.num_rows for table in tables) == rows(range(300)).num_rows
    for index, table in enumerate(tables):
        assert {split.part_of(unit, 5, SEED) for unit in table["unit"].to_pylist()} == {index}
        assert table["unit"].to_pylist() == sorted(table["unit"].to_pylist())


def test_no_byte_of_another_units_text_is_in_a_blocks_file():
    """A slice, or a dictionary, would carry it along."""
    for file in parts_of(range(300)):
        mine = set(pa.ipc.open_file(pa.BufferReader(file)).read_all()["unit"].to_pylist())
        there = {f"u{unit}" for unit in range(300) if f"MARK-u{unit}-END".encode() in file}
        assert there == {unit for unit in mine if int(unit[1:]) % 5}


def nullable(units):
    """Numbers of a fixed width, a third of them null: a null has its place in the buffer, where anything could lie."""
    units = sorted(f"u{unit}" for unit in units for _ in range(1 + unit % 3))
    numbers = [None if int(unit[1:]) % 3 == 0 else marked(int(unit[1:])) for unit in units]
    return pa.table({
        "unit": pa.array(units, pa.utf8()),
        "count": pa.array(numbers, pa.int64()),
        "cost": pa.array([None if number is None else Decimal(number) for number in numbers], pa.decimal128(21, 0)),
        "flag": pa.array([None if number is None else number % 2 == 0 for number in numbers], pa.bool_()),
        "at": pa.array(numbers, pa.timestamp("us", tz="UTC")),
    })  # fmt: skip


def marked(unit):
    """A number whose bytes are found in a file."""
    return 0x0141_524B_5F00_0000 + unit


def files_of_nullable(units, parts):
    """Split where stored blocks are split, put together where there are fewer program blocks."""
    if parts > 1:
        table = split.read_block(parquet_bytes(nullable(units)))
        return [split.ipc_bytes(part) for part in split.split(table, "unit", parts, SEED)]
    stored = {
        index: split.read_block(parquet_bytes(nullable(unit for unit in units if unit % 4 == index)))
        for index in range(4)
    }
    return [split.ipc_bytes(split.merged(stored, [first, first + 2])) for first in range(2)]


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 400), min_size=2, max_size=60), st.integers(1, 12), st.data())
def test_what_lies_under_a_null_is_nobody_elses_and_the_same_each_time(units, parts, data):
    gone = data.draw(st.sampled_from(sorted(units)))
    whole, left = files_of_nullable(units, parts), files_of_nullable(units - {gone}, parts)
    assert whole == files_of_nullable(units, parts)
    mine = split.part_of(f"u{gone}", parts, SEED) if parts > 1 else gone % 2
    assert [index for index, file in enumerate(whole) if file != left[index]] == [mine]
    for file in whole:
        inside = set(pa.ipc.open_file(pa.BufferReader(file)).read_all()["unit"].to_pylist())
        there = {unit for unit in units if marked(unit).to_bytes(8, "little") in file}
        assert there == {unit for unit in units if f"u{unit}" in inside and unit % 3}


def test_another_seed_is_another_assignment_and_empty_parts_are_there():
    assert parts_of(range(50), seed=b"\x01" * 32) != parts_of(range(50))
    files = parts_of([7], 4)
    assert sorted(pa.ipc.open_file(pa.BufferReader(file)).read_all().num_rows for file in files) == [0, 0, 0, 2]
    schemas = {str(pa.ipc.open_file(pa.BufferReader(file)).schema) for file in files}
    assert len(schemas) == 1


@pytest.mark.parametrize("lanes", [1, 2, 3, 5])
@pytest.mark.parametrize("blocks", [1, 2, 4, 8, 16, 40])
def test_what_is_split_or_put_together_from_a_stored_block_is_in_its_lane(blocks, lanes):
    for stored in range(STORED):
        lane = split.lane_of(stored, blocks, STORED, lanes)
        for block in split.program_indexes(stored, blocks, STORED):
            assert split.lane_of(block, blocks, STORED, lanes) == lane
    everywhere = [split.blocks_in_lane(lane, blocks, STORED, lanes) for lane in range(lanes)]
    assert sorted(block for lane in everywhere for block in lane) == list(range(blocks))


def form(blocks):
    return ProgramForm(
        name="a.py", text="", params={}, preload=(), outputs=(OUTPUT,), blocks=blocks, stored_blocks=STORED, tier=None,
        oci_runtime=None, stage_seconds=0.0, start_seconds=0.0, slot_seconds=0.1, own_seconds=0.1, clear_seconds=0.01, is_mock=False,
    )  # fmt: skip


def staged(folder, blocks, tables, *, lane=0, lanes=1, without=()):
    """What lies in the lane's folder: block -> table -> its units."""
    shares = tuple(TableShare(name, "unit", "", STORED, (), b"", {}, whole=name == "public") for name in tables)
    work = LaneWork(
        job="j-1", attempt=1, lane=lane, lanes=lanes, owner="test", image="sha256:" + "a" * 64, engine="none", staging=str(folder),
        form=form(blocks), seed=SEED, store="", tables=shares, seconds=1.0, lane_seconds=1.0, block_seconds=0.1, memory_bytes=1 << 30,
    )  # fmt: skip
    work.folder.mkdir(parents=True)
    opened = (
        (name, index, parquet_bytes(rows(unit for unit in units if unit % STORED == index)))
        for name, units in tables.items()
        for index in range(STORED)
        if (name, index) not in without
    )
    indexes = form(blocks).stage(work, opened)
    found = {}
    for index in indexes:
        files = {path.stem: path for path in (work.folder / str(index)).iterdir()}
        found[index] = {
            name: set(pa.ipc.open_file(pa.memory_map(str(path))).read_all()["unit"].to_pylist())
            for name, path in files.items()
        }
    return found


@pytest.mark.parametrize("blocks", [2, 8, 24])
def test_tables_of_one_population_meet_unit_by_unit_and_public_ones_are_whole(tmp_path, blocks):
    found = staged(tmp_path, blocks, {"visits": range(200), "people": range(200), "public": range(30)})
    assert sorted(found) == list(range(blocks))
    assert all(tables["visits"] == tables["people"] for tables in found.values())
    assert all(tables["public"] == {f"u{unit}" for unit in range(30)} for tables in found.values())
    assert set().union(*(tables["visits"] for tables in found.values())) == {f"u{unit}" for unit in range(200)}
    assert sum(len(tables["visits"]) for tables in found.values()) == 200


@pytest.mark.parametrize(("blocks", "lost"), [(8, {3}), (24, {3, 11, 19}), (2, {1})])
def test_a_damaged_stored_block_takes_only_the_blocks_that_it_has_a_part_in(tmp_path, blocks, lost):
    found = staged(tmp_path, blocks, {"visits": range(200), "people": range(200)}, without={("people", 3)})
    assert set(range(blocks)) - set(found) == lost


def test_without_the_whole_public_table_no_block_runs(tmp_path):
    assert staged(tmp_path, 8, {"visits": range(200), "public": range(30)}, without={("public", 5)}) == {}
