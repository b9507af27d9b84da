"""Whole columns are judged as assets.cells judges each cell: the same rows kept, with the same values, and the same counts, in every format."""

import csv
import io
from collections import Counter
from datetime import date, datetime
from decimal import Context, Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.cells import Reason, rule_for, unit_rule
from assets.judge_batches import kept_rows
from assets.physical import arrow_type
from assets.read_batches import read_batches
from assets.source import Format, plain
from tests.assets_builders import declared

NULLS = ("", "NA")
WIDE = Context(prec=80)
DECLARATION = """\
asset: medical/visits
title: {{en: Visits, zh: 就诊}}
sector: medical
level: S2
population: {{name: patients, id_namespace: hospital-pid, unit: pid}}
size: {{rows: 100, units: 40}}
columns:
  pid: {unit}
  x:   {column}
budget: {{accountant: basic, epsilon: 4, delta: 1e-7}}
csv: {{null_values: ["", NA]}}
"""
PLAIN_UNIT = "{type: string, unit: true, max_length: 8}"
COLUMNS = [
    "{type: int, lower: 0, upper: 110, nullable: true}",
    "{type: int}",
    "{type: decimal, scale: 2, lower: 0, upper: 500}",
    "{type: decimal, scale: 0, nullable: true}",
    "{type: decimal, scale: 9}",
    "{type: string, max_length: 4}",
    '{type: category, values: [positive, 不明, é, "1", "not_text"]}',
    "{type: bool, nullable: true}",
    "{type: date, lower: 2020-01-01, upper: 2026-12-31}",
    "{type: date, nullable: true}",
    "{type: timestamp}",
    "{type: timestamp, lower: 2020-01-01T00:00:00Z, upper: 2026-12-31T23:59:59Z, nullable: true}",
]
# What is judged, as a declaration, with the name of its column.
JUDGED = [(declared(DECLARATION.format(unit=PLAIN_UNIT, column=column)), "x") for column in COLUMNS] + [
    (declared(DECLARATION.format(unit=f"{{type: {kind}, unit: true, max_length: 8}}", column="{type: bool}")), "pid")
    for kind in ("string", "int")
]
WORDS = """0 1 -1 +1 01 1.0 1. -0 .5 -0.0 110 111 1e2 1E-2 1e400 1e999 inf nan NaN ٣ 0x1 1_000 9007199254740991 9007199254740992
-9007199254740992 99999999999999999999 0.005 0.015 0.025 2.675 499.995 500.004 500.005 -0.005 0.0000000005 9007199.254740991
123456789.123456789 1234567890.1 999999999999999999 NA A AB ABCDE é e\u0301 e\u0301bcd 不明 positive Positive not_text true TRUE
false 榕榕榕榕榕榕榕榕榕 007 -7 123456789 2020-01-01 2019-12-31 2026-12-31 2027-01-01 2024-02-29 2023-02-29 0001-01-01 0000-01-01
9999-12-31 2024-1-1 20240101 2024-01-01T00:00:00Z 2024-01-01T00:00:00 2024-01-01T23:59 2024-01-01T24:00:00 2024-01-01T23:59:60
2024-01-01T08:00:00+08:00 0001-01-01T00:00:00+08:00 2026-12-31T23:59:59.000001Z 0500-01-01T00:00:00Z 2024-01-01T00:00:00.1Z
2024-01-01T00:00:00.1234567Z""".split()
BLANKS = [
    "",
    " ",
    " A",
    "A ",
    "\t7",
    "7\n",
    " true ",
    "a\tb",
    "a\nb",
    "a\x7fb",
    "\u2028",
    "\u3000A",
    "\xa0",
    "2024-01-01 12:30:01.5",
]
TEXTS = st.one_of(
    st.sampled_from(WORDS + BLANKS),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=6),
    st.integers(-(10**19), 10**19).map(str),
    st.decimals(-1000, 1000, places=3).map(str),
    st.datetimes().map(datetime.isoformat),
)
LONG_AGO = ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2024-01-01T00:00:00Z"]
DAYS = st.one_of(
    st.dates(), st.dates(date(2019, 12, 30), date(2020, 1, 2)), st.dates(date(2026, 12, 30), date(2027, 1, 2))
)
MOMENTS = st.one_of(st.datetimes(), DAYS.map(lambda day: datetime(day.year, day.month, day.day)))
HARD_FLOATS = [
    2.675,
    1.005,
    500.005,
    499.995,
    2.0**53,
    2.0**53 + 2,
    4503599627370495.5,
    2.0**40 + 0.5,
    1e19,
    1e41,
    -1e300,
]
FLOATS = st.one_of(
    st.floats(width=32),
    st.floats(),
    st.integers(-200_000, 200_000).map(lambda number: number / 1000),
    st.integers(-(10**11), 10**11).map(lambda number: (number + 0.5) / 100),
    st.sampled_from(HARD_FLOATS),
)  # fmt: skip


def decimals(kind):
    most = 10**kind.precision - 1
    near = min(most, 60_000)
    numbers = st.one_of(
        st.integers(-most, most), st.integers(-near, near), st.integers(-near, near).map(lambda n: n // 10 * 10 + 5)
    )
    return numbers.map(lambda number: Decimal(number).scaleb(-kind.scale, context=WIDE))


def integers(kind):
    bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    near = [n for n in (-1, 0, 1, 7, 110, 111, 500, 501, 2**53 - 1, 2**53, 2**63 - 1, -(2**53)) if low <= n <= high]
    return st.one_of(st.sampled_from(near), st.integers(low, high))


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
DECIMALS = [
    pa.decimal32(9, 3), pa.decimal64(18, 2), pa.decimal128(5, 0), pa.decimal128(18, 9), pa.decimal128(38, 10), pa.decimal128(38, 37),
    pa.decimal128(9, -2), pa.decimal256(50, 4),
]  # fmt: skip
SOURCES = (
    {str(kind): (kind, integers(kind)) for kind in INTEGERS}
    | {str(kind): (kind, decimals(kind)) for kind in DECIMALS}
    | {
        "text": (pa.utf8(), TEXTS),
        "large text": (pa.large_utf8(), TEXTS),
        "float32": (pa.float32(), st.floats(width=32)),
        "float64": (pa.float64(), FLOATS),
        "bool": (pa.bool_(), st.booleans()),
        "date32": (pa.date32(), DAYS),
        "date64": (pa.date64(), DAYS),
        "timestamp": (pa.timestamp("us"), MOMENTS),
        "zoned": (pa.timestamp("us", tz="Asia/Shanghai"), MOMENTS),
    }
)
UNWRITTEN = {"decimal32(9, 3)", "decimal64(18, 2)", "decimal128(9, -2)", "date64"}  # which Parquet has no equal of


def array_of(cells, kind):
    """Moments are those of UTC, whatever zone the type names: no zone is asked for."""
    if pa.types.is_timestamp(kind):
        return pa.array(cells, pa.timestamp("us")).cast(pa.int64()).cast(kind)
    return pa.array(cells, kind)


def one_by_one(cells, declaration, name):
    """What becomes of each cell, by the rules alone."""
    column = declaration.schema.column(name)
    rule, nothing = rule_for(column), None if column.nullable else Reason.MISSING
    if name == declaration.population.unit:
        rule, nothing = unit_rule(declaration.population.unit_type, column.max_length), Reason.UNIT_MISSING
    return [nothing if cell is None else rule(cell) for cell in cells]


def batch_with(cells, declaration, name):
    """The cells in the column that is judged, and beside them what no rule minds."""
    beside = {"pid": pa.array(["p1"] * len(cells)), "x": pa.array([True] * len(cells))}
    return pa.RecordBatch.from_pydict({**beside, name: cells} if name == "pid" else {"pid": beside["pid"], "x": cells})


def check(batches, cells, declaration, name, null_values=()):
    kept, counts = kept_rows(batches, declaration, null_values)
    wanted = one_by_one(cells, declaration, name)
    stored = [each for each in wanted if not isinstance(each, Reason)]
    column = declaration.schema.column(name)
    assert kept.column(name).to_pylist() == pa.array(stored, arrow_type(column)).to_pylist()
    assert list(map(str, kept.column(name).to_pylist())) == [
        str(x) for x in pa.array(stored, arrow_type(column)).to_pylist()
    ]
    found = {(each.column, each.reason): each.rows for each in counts.rejected}
    assert found == {
        (name, reason): rows for reason, rows in Counter(w for w in wanted if isinstance(w, Reason)).items()
    }
    assert (counts.rows_read, counts.rows_kept) == (len(cells), len(stored))
    kept.validate(full=True)


def test_hard_texts_and_numbers_are_judged_by_the_column_as_one_by_one():
    for cells in (pa.array(WORDS + BLANKS + [None]), pa.array(HARD_FLOATS), pa.array(LONG_AGO)):
        for declaration, name in JUDGED:
            check([batch_with(cells, declaration, name)], cells.to_pylist(), declaration, name)


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_cells_of_every_type_are_judged_by_the_column_as_one_by_one(source, data):
    kind, values = SOURCES[source]
    drawn = data.draw(st.lists(st.one_of(st.none(), values), min_size=2, max_size=12))
    array = array_of(drawn, kind)
    cells = plain("x", array[data.draw(st.integers(0, 1)) :])
    for declaration, name in JUDGED:
        check([batch_with(cells, declaration, name)], cells.to_pylist(), declaration, name)


def files_of(batch, is_writable):
    """The batch in every format that takes a type."""
    stream, file, parquet = pa.BufferOutputStream(), pa.BufferOutputStream(), pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    with pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    yield Format.ARROW, stream.getvalue().to_pybytes()
    yield Format.ARROW, file.getvalue().to_pybytes()
    if is_writable:
        pq.write_table(pa.Table.from_batches([batch]), parquet, row_group_size=3, store_schema=False)
        yield Format.PARQUET, parquet.getvalue().to_pybytes()


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_a_file_is_judged_as_its_cells_one_by_one(source, data):
    kind, values = SOURCES[source]
    drawn = data.draw(st.lists(st.one_of(st.none(), values), min_size=1, max_size=12))
    array = array_of(drawn, kind)
    for declaration, name in JUDGED:
        for form, content in files_of(batch_with(array, declaration, name), source not in UNWRITTEN):
            batches = read_batches(content, form, ["pid", "x"]).batches
            check(batches, plain("x", array).to_pylist(), declaration, name)


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXTS.filter(lambda text: "\n" not in text), min_size=1, max_size=12))
def test_a_csv_file_is_judged_as_its_texts_one_by_one(texts):
    for declaration, name in JUDGED:
        sink = io.StringIO()
        writer = csv.writer(sink, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["pid", "x"])
        writer.writerows([text, "true"] if name == "pid" else ["p1", text] for text in texts)
        batches = read_batches(sink.getvalue().encode(), Format.CSV, ["pid", "x"]).batches
        check(batches, [None if text in NULLS else text for text in texts], declaration, name, NULLS)
