"""Mock data is a function of declaration and seed, has exactly the rows asked for, and every edge case there is room for (T28)."""

import io
import shutil
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.catalogue import get
from assets.judge_batches import kept_rows
from assets.mock import MAX_ROWS, MAX_SEED, mock_blocks, mock_minimum, mock_table
from assets.physical import arrow_schema, csv_bytes, parquet_bytes
from assets.read_batches import read_batches
from assets.source import Format
from core.errors import Invalid
from privacy.schema import ColumnType
from tests.assets_builders import ACTOR, csv_of, declared, example, server_in, visit

DECLARED = declared()
ALL = [
    DECLARED,
    example("traffic/flights.yaml"),
    example("medical/covid_testing.yaml"),
    declared(pid="{type: int, unit: true, max_length: 1}"),
]


def edge_cases(declaration):
    """For each column, the values that must appear: written out from the declaration, not taken from the generator."""
    for column in declaration.columns:
        if column.name == declaration.population.unit:
            continue
        wanted = set(column.values)
        if column.type is ColumnType.BOOL:
            wanted = {True, False}
        if column.lower is not None:
            wanted = {column.lower, column.upper}
        if column.nullable:
            wanted.add(None)
        yield column, wanted


@pytest.mark.parametrize("declaration", ALL)
@pytest.mark.parametrize("rows", [1, 2, 10, 1000])
def test_exactly_the_rows_asked_for_in_the_form_of_a_block(declaration, rows):
    start = time.perf_counter()
    found = mock_table(declaration, rows, 7)
    assert time.perf_counter() - start < 2
    assert found.num_rows == rows
    assert found.schema == arrow_schema(declaration.schema)


@pytest.mark.parametrize("declaration", ALL)
def test_every_edge_case_is_there_from_the_named_number_of_rows_on(declaration):
    least = mock_minimum(declaration)
    assert least == max(len(wanted) for _, wanted in edge_cases(declaration))
    for rows in (least, least + 1, 500):
        for seed in range(20):
            found = mock_table(declaration, rows, seed)
            for column, wanted in edge_cases(declaration):
                assert wanted <= set(found.column(column.name).to_pylist()), (column.name, rows, seed)
                if column.type is ColumnType.STRING:
                    assert max(len(text) for text in found.column(column.name).to_pylist() if text) == column.max_length


def test_a_column_of_integers_with_nulls_stays_one_of_integers():
    found = mock_table(DECLARED, 1000, 1)
    assert found.schema.field("age").type == pa.int64()
    assert found.column("age").null_count > 0
    assert found.column("cost").type == pa.decimal128(18, 2)
    assert pq.read_table(io.BytesIO(parquet_bytes(found))).schema.field("age").type == pa.int64()


@pytest.mark.parametrize("declaration", ALL)
def test_what_is_made_is_as_declared_and_comes_through_an_ingest_whole(declaration):
    found = mock_table(declaration, 700, 3)
    names = found.column_names
    assert kept_rows(found.to_batches(), declaration)[1].rows_kept == 700
    as_csv = read_batches(csv_bytes(found), Format.CSV, names).batches
    assert kept_rows(as_csv, declaration, declaration.null_values)[1].rows_kept == 700


def test_units_have_several_rows_about_as_many_as_declared():
    rows = Counter(mock_table(declared(size="{rows: 100, units: 10}"), 1000, 0).column("pid").to_pylist())
    assert 80 <= len(rows) <= 100
    assert max(rows.values()) > 15


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from tests.assets_builders import declared; from assets.mock import *; from assets.physical import *;"
        "print(hashlib.sha256(parquet_bytes(mock_table(declared(), 300, 5))).hexdigest(),"
        "hashlib.sha256(b''.join(mock_blocks(declared(), 300, 5, 4))).hexdigest())"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1


def test_seed_and_declaration_both_change_it():
    tables = [mock_table(DECLARED, 50, 0), mock_table(DECLARED, 50, 1), mock_table(declared(level="S1"), 50, 0)]
    assert not any(tables[a].equals(tables[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert mock_table(DECLARED, 50).equals(tables[0])
    assert not mock_table(DECLARED, 50, MAX_SEED).equals(tables[0])


def test_mock_data_is_byte_identical_when_the_private_data_is_replaced_or_deleted(tmp_path):
    with server_in(tmp_path) as server:
        server.register(DECLARED)

        def made():
            with server.journal.reading() as connection:
                declaration = get(connection, DECLARED.asset).declaration
            return parquet_bytes(mock_table(declaration, 100, 4)), mock_blocks(declaration, 100, 4, 8)

        before = made()
        for rows in ([visit(pid=f"p{i}") for i in range(9)], [visit(pid="p1", age="110")]):
            server.ingest.version(DECLARED.asset, csv_of(*rows), Format.CSV, ACTOR)
            assert made() == before
        shutil.rmtree(tmp_path / "store")
        assert made() == before


def test_blocks_hold_the_same_rows_whole_units_in_order():
    found = [pq.read_table(io.BytesIO(block)) for block in mock_blocks(DECLARED, 400, 2, 8)]
    assert len(found) == 8
    assert all(block.schema.equals(arrow_schema(DECLARED.schema)) for block in found)
    rows = [tuple(row.values()) for block in found for row in block.to_pylist()]
    assert Counter(rows) == Counter(tuple(row.values()) for row in mock_table(DECLARED, 400, 2).to_pylist())
    units = [block.column("pid").to_pylist() for block in found]
    assert all(each == sorted(each) for each in units)
    assert sum(len(set(each)) for each in units) == len({unit for each in units for unit in each})


@pytest.mark.parametrize(
    ("rows", "seed", "code"),
    [(0, 0, "rows"), (-1, 0, "rows"), (MAX_ROWS + 1, 0, "rows"), (1, -1, "seed"), (1, MAX_SEED + 1, "seed")],
)
def test_an_impossible_wish_is_refused(rows, seed, code):
    with pytest.raises(Invalid) as caught:
        mock_table(DECLARED, rows, seed)
    assert caught.value.code == f"mock.{code}"


COLUMN = st.one_of(
    st.tuples(st.integers(1 - 2**53, 2**53 - 2), st.integers(1, 2**53)).map(
        lambda pair: f"{{type: int, lower: {pair[0]}, upper: {min(pair[0] + pair[1], 2**53 - 1)}, nullable: true}}"
    ),
    st.tuples(st.integers(0, 9), st.integers(0, 1000)).map(
        lambda pair: f"{{type: decimal, scale: {pair[0]}, lower: -{Decimal(pair[1]).scaleb(-pair[0]):f}, upper: 1}}"
    ),
    st.integers(1, 256).map(lambda length: f"{{type: string, max_length: {length}}}"),
    st.just("{type: int}"),
    st.just("{type: decimal, scale: 9}"),
    st.just("{type: date}"),
    st.just("{type: timestamp, lower: 0001-01-01T00:00:00Z, upper: 9999-12-31T23:59:59.999999Z}"),
    st.just("{type: category, values: [a], nullable: true}"),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(COLUMN, COLUMN, st.integers(1, 40), st.integers(0, MAX_SEED))
def test_mock_data_of_any_declaration_keeps_it(first, second, rows, seed):
    declaration = declared(age=first, cost=second)
    assert kept_rows(mock_table(declaration, rows, seed).to_batches(), declaration)[1].rows_kept == rows
