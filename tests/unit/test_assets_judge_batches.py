"""Which rows are kept, how the others are counted, and that blocks depend on the multiset of rows and the key only."""

import hmac
import io
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.cells import Reason, rule_for
from assets.judge_batches import kept_rows
from assets.physical import arrow_schema, csv_bytes, parquet_bytes
from assets.placement import blocks_of, placed
from assets.read_batches import read_batches
from assets.report import report_of
from assets.source import Format
from privacy.schema import ColumnType
from tests.assets_builders import declared, table, visit

KEY = b"k" * 32
DECLARED = declared()


def counted(*rows, null_values=("", "NA")):
    kept, counts = kept_rows(table(*rows).to_batches(), DECLARED, null_values)
    return kept, counts, {(each.column, each.reason.value): each.rows for each in counts.rejected}


def bytes_of_blocks(source, count=4, key=KEY):
    kept, _ = kept_rows(source.to_batches(), DECLARED, ("", "NA"))
    return [parquet_bytes(block) for block in placed(kept, "pid", key, count)]


def test_rows_as_declared_are_kept_in_the_form_of_a_block():
    kept, counts, rejected = counted(visit(), visit(pid=" p2 ", age=None, cost="1.005", day="NA"))
    assert (counts.rows_read, counts.rows_kept, counts.units, rejected) == (2, 2, 2, {})
    (block,) = placed(kept, "pid", KEY, 1)
    assert block.schema == arrow_schema(DECLARED.schema)
    assert block.column("pid").to_pylist() == ["p1", "p2"]
    assert [str(c) for c in block.column("cost").to_pylist()] == ["12.50", "1.00"]
    assert block.column("age").to_pylist() == [40, None]
    assert block.column("day").to_pylist()[1] is None


def test_rows_that_break_the_declaration_are_counted_by_column_and_reason():
    _, counts, rejected = counted(
        visit(),
        visit(age="111"),
        visit(age="-1", cost="x"),
        visit(ward="ABCDE"),
        visit(ward=None),
        visit(result="maybe"),
        visit(urgent="perhaps"),
        visit(day="2019-12-31"),
        visit(seen="noon"),
    )
    assert (counts.rows_read, counts.rows_kept) == (9, 1)
    assert rejected == {
        ("age", "above_upper"): 1,
        ("age", "below_lower"): 1,
        ("cost", "not_a_number"): 1,
        ("ward", "too_long"): 1,
        ("ward", "missing"): 1,
        ("result", "not_in_categories"): 1,
        ("urgent", "not_a_bool"): 1,
        ("day", "below_lower"): 1,
        ("seen", "not_a_timestamp"): 1,
    }


def test_a_row_without_a_unit_is_counted_by_that_rule_alone():
    _, counts, rejected = counted(
        visit(pid=None, age="999", ward=None), visit(pid="  ", cost="x"), visit(pid="NA"), visit()
    )
    assert counts.rows_kept == 1
    assert rejected == {("pid", "unit_missing"): 3}


def test_null_words_are_nulls_only_where_the_source_is_text_that_declares_them():
    assert counted(visit(ward="NA"))[2] == {("ward", "missing"): 1}
    assert counted(visit(ward="NA"), null_values=())[2] == {}


def test_the_report_adds_up_and_holds_no_value():
    _, counts, _ = counted(visit(), visit(age="111"), visit(pid=None))
    report = report_of(DECLARED, counts, ["secret_column"])
    assert report["rows_read"] == report["rows_kept"] + 2
    assert report["units"] == 1
    assert report["rejected"] == [
        {"column": "pid", "reason": "unit_missing", "rows": 1},
        {"column": "age", "reason": "above_upper", "rows": 1},
    ]
    assert report["columns_ignored"] == ["secret_column"]
    assert [text.split(" declared")[0] for text in report["advice"]] == [
        "the version has far fewer rows than the 100",
        "the version has far fewer units than the 40",
    ]


def test_advice_is_given_beyond_four_fifths_and_five_quarters_of_a_declared_size():
    def advice(rows):
        return report_of(DECLARED, counted(*(visit(pid=f"p{i % 40}") for i in range(rows)))[1], [])["advice"]

    assert [len(advice(rows)) for rows in (79, 80, 125, 126)] == [1, 0, 0, 1]


def test_a_table_without_rows_gives_empty_blocks():
    source = table(visit()).slice(0, 0)
    blocks = bytes_of_blocks(source)
    assert [pq.read_table(io.BytesIO(block)).num_rows for block in blocks] == [0, 0, 0, 0]
    assert pq.read_table(io.BytesIO(blocks[0])).schema.equals(arrow_schema(DECLARED.schema))


ROWS = st.lists(
    st.builds(
        lambda pid, age, cost, ward, result, day: visit(pid=pid, age=age, cost=cost, ward=ward, result=result, day=day),
        st.sampled_from(["p1", "p2", " p2", "p10", "P1", "榕", "", None]),
        st.sampled_from(["1", "01", "1.0", "110", "111", None]),
        st.sampled_from(["0.005", "0.00", "0", "499.999", "x"]),
        st.sampled_from(["A", "B", "e\u0301", "é", "NA"]),
        st.sampled_from(["positive", "negative", "不明"]),
        st.sampled_from(["2024-02-29", "2020-01-01", None]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_in_a_file_does_not_matter(rows, order):
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert bytes_of_blocks(table(*rows)) == bytes_of_blocks(table(*shuffled))


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_blocks_hold_exactly_the_rows_that_a_row_by_row_reading_keeps(rows):
    """The reference is a plain loop over rows and rules, with none of the codes and ranks."""
    unit = DECLARED.population.unit
    kept = []
    for row in rows:
        cells = {name: None if value in ("", "NA") else value for name, value in row.items()}
        pid = (cells[unit] or "").strip()
        stored = {unit: pid or Reason.UNIT_MISSING}
        for column in DECLARED.columns:
            if column.name != unit:
                cell = cells[column.name]
                nothing = None if column.nullable else Reason.MISSING
                stored[column.name] = nothing if cell is None else rule_for(column)(cell)
        if not any(isinstance(value, Reason) for value in stored.values()):
            kept.append(stored)
    found = [pq.read_table(io.BytesIO(block)) for block in bytes_of_blocks(table(*rows))]
    in_blocks = [row for block in found for row in block.to_pylist()]
    assert Counter(tuple(row.values()) for row in in_blocks) == Counter(tuple(row.values()) for row in kept)
    for index, block in enumerate(found):
        units = [value.encode() for value in block.column(unit).to_pylist()]
        assert units == sorted(units)
        assert set(blocks_of(units, KEY, 4).tolist()) <= {index}


def test_without_one_unit_every_other_row_lies_where_it_lay():
    rows = [visit(pid=f"p{i}", age=str(i % 90)) for i in range(200) for _ in range(2)]
    whole = [pq.read_table(io.BytesIO(block)).to_pylist() for block in bytes_of_blocks(table(*rows))]
    less = [
        pq.read_table(io.BytesIO(b)).to_pylist()
        for b in bytes_of_blocks(table(*(r for r in rows if r["pid"] != "p17")))
    ]
    assert [[row for row in block if row["pid"] != "p17"] for block in whole] == less


def test_placement_is_by_hmac_depends_on_the_key_and_spreads_units_over_all_blocks():
    units = [*(f"p{i}".encode() for i in range(800)), b"", "榕".encode() * 85, b"x" * 1000]
    places = blocks_of(units, KEY, 8).tolist()
    assert places == [int.from_bytes(hmac.digest(KEY, unit, "sha256")[:8], "big") % 8 for unit in units]
    assert places != blocks_of(units, b"j" * 32, 8).tolist()
    assert all(60 <= places.count(index) <= 140 for index in range(8))
    assert blocks_of([], KEY, 8).tolist() == []


def typed_sources():
    """The same two rows as CSV, Parquet and Arrow, with every type that a source can hold them in."""
    rows = table(visit(), visit(pid="p2", age=None, urgent="false"))
    typed = pa.table(
        {
            "pid": rows["pid"].cast(pa.large_string()),
            "age": pa.array([40.0, None], pa.float64()),
            "cost": pa.array(["12.50", "12.50"]).cast(pa.decimal128(9, 3)),
            "ward": rows["ward"].dictionary_encode(),
            "result": rows["result"].cast(pa.string_view()),
            "urgent": pa.array([True, False]),
            "day": rows["day"].cast(pa.date32()),
            "seen": rows["seen"].cast(pa.timestamp("ns", tz="UTC")),
        }
    )
    stream, file, parquet = pa.BufferOutputStream(), pa.BufferOutputStream(), pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, typed.schema) as writer:
        writer.write_table(typed)
    with pa.ipc.new_file(file, typed.schema) as writer:
        writer.write_table(typed, max_chunksize=1)
    pq.write_table(typed.set_column(4, "result", rows["result"]), parquet)
    return [
        (csv_bytes(rows), Format.CSV),
        *(
            (sink.getvalue().to_pybytes(), form)
            for sink, form in ((stream, "arrow"), (file, "arrow"), (parquet, "parquet"))
        ),
    ]


def test_csv_parquet_and_arrow_are_judged_by_the_same_rules():
    names = [column.name for column in DECLARED.columns]
    read = [read_batches(content, Format(form), names).batches for content, form in typed_sources()]
    blocks = [bytes_of_blocks(pa.Table.from_batches(batches)) for batches in read]
    assert blocks[0] == blocks[1] == blocks[2] == blocks[3]
    assert sum(pq.read_table(io.BytesIO(block)).num_rows for block in blocks[0]) == 2


def test_an_int_unit_is_one_text_in_every_source():
    declaration = declared(pid="{type: int, unit: true}")
    assert declaration.population.unit_type is ColumnType.INT
    for cells in (pa.array(["007"]), pa.array([7]), pa.array([7.0]), pa.array([7], pa.uint8())):
        source = table(visit()).set_column(0, "pid", cells)
        assert kept_rows(source.to_batches(), declaration)[0].column("pid").to_pylist() == ["7"]


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_chunks_of_a_source_do_not_matter(rows):
    source = table(*(visit(pid=f"p{i % 7}", ward="ABC"[i % 3]) for i in range(rows)))
    chunked = pa.concat_tables([source.slice(i, 1) for i in range(rows)])
    assert bytes_of_blocks(source) == bytes_of_blocks(chunked)
