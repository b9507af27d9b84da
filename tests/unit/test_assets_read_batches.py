"""A file that cannot be read is refused whole, and the refusal names the place and never a value."""

from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.read_batches import ROWS as ROWS_READ
from assets.read_batches import read_batches
from assets.source import Format, format_of
from core.errors import Invalid
from tests.assets_builders import csv_of, table, visit

NAMES = list(visit())
SECRET = "Zhanghuaiming"
ROWS = [visit(pid=f"p{i}", ward=SECRET) for i in range(50)]


def parquet(**options):
    sink = pa.BufferOutputStream()
    pq.write_table(table(*ROWS), sink, **options)
    return sink.getvalue().to_pybytes()


def arrow(new=pa.ipc.new_stream):
    sink = pa.BufferOutputStream()
    with new(sink, table(*ROWS).schema) as writer:
        writer.write_table(table(*ROWS), max_chunksize=10)
    return sink.getvalue().to_pybytes()


def read_source(content, form, names):
    """All rows as one table, and the other columns."""
    source = read_batches(content, form, names)
    batches = list(source.batches)
    assert all(batch.num_rows <= ROWS_READ for batch in batches)
    return pa.Table.from_batches(batches, None if batches else pa.schema([])), source.others


def refused(content, form, names=NAMES):
    with pytest.raises(Invalid) as caught:
        read_source(content, Format(form), names)
    problem = caught.value
    assert problem.code == "ingest.unreadable"
    assert SECRET not in f"{problem} {problem.text} {problem.where} {problem.way_out} {problem.detail}"
    assert problem.__cause__ is None
    return problem


@pytest.mark.parametrize(
    ("content", "form"),
    [(csv_of(*ROWS), "csv"), (parquet(), "parquet"), (arrow(), "arrow"), (arrow(pa.ipc.new_file), "arrow")],
)
def test_whole_files_are_read_with_the_declared_columns_only(content, form, tmp_path):
    (tmp_path / "upload").write_bytes(content)
    for upload in (content, tmp_path / "upload"):
        found, others = read_source(upload, Format(form), NAMES[:-2])
        assert (found.num_rows, found.column_names, others) == (50, NAMES[:-2], NAMES[-2:])


@pytest.mark.parametrize(
    ("form", "content"), [("parquet", parquet()), ("arrow", arrow()), ("arrow", arrow(pa.ipc.new_file))]
)
def test_a_truncated_file_is_refused_wherever_it_was_cut(form, content):
    for end in {*range(0, len(content), 97), *range(len(content) - 40, len(content))}:
        refused(content[:end], form)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_damage_inside_a_file_is_refused_or_read_but_never_raises_anything_else(form):
    content = {"parquet": parquet(), "arrow": arrow()}[form]
    refusals = []
    for at in range(0, len(content), 41):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        try:
            read_source(bytes(damaged), Format(form), NAMES)
        except Invalid as problem:
            refusals.append(str(problem.public()))
    assert refusals
    assert not any(SECRET in text for text in refusals)


@pytest.mark.parametrize("form", list(Format))
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not what it says", b"\0" * 64, b"\xff\xfe\x00", b"pid,age\rp1,40\rp2,41\r"]
)
def test_a_file_of_another_kind_is_refused(form, content):
    refused(content, form)
    refused(parquet() if form is not Format.PARQUET else csv_of(*ROWS), form)


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_a_missing_declared_column_is_named(form):
    content = {"csv": csv_of(*ROWS), "parquet": parquet(), "arrow": arrow()}[form]
    problem = refused(content, form, [*NAMES, "diagnosis"])
    assert problem.where == {"column": "diagnosis"}
    assert "no column diagnosis" in problem.text


def test_a_column_given_twice_is_refused():
    content = csv_of(*ROWS).replace(b"ward,", b"age,", 1)
    problem = refused(content, "csv", ["pid", "age"])
    assert problem.where == {"column": "age"}


@pytest.mark.parametrize("extra", [",", ""])
def test_a_ragged_row_is_named_by_its_number(extra):
    lines = csv_of(*ROWS).decode().splitlines()
    lines[7] = f"{lines[7]},{SECRET}" if extra else lines[7].rpartition(",")[0]
    problem = refused("\n".join(lines).encode(), "csv")
    assert problem.where == {"row": 8}


def test_bytes_that_are_not_utf8_are_named_by_their_line():
    content = csv_of(*ROWS).replace(b'"p20"', "卫生".encode("gb18030"))
    assert refused(content, "csv").where == {"line": 22}
    assert refused("姓名,".encode("gb18030") + content, "csv").where == {"line": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('pid,x\na,"abc\nb,2\nc,"foo"\nd,4\n', 2),
        ('pid,y,x\na,"abc,1\nb,2,2\nc,"foo",3\nd,4,4\n', 2),
        ('pid,x\nz,1\na,"b"c\nd,"e\nf"\n', 3),
    ],
)
def test_rows_behind_a_quote_that_is_not_closed_are_not_lost_without_a_word(text, line):
    assert refused(text.encode(), "csv", ["pid", "x"]).where == {"line": line}


def test_line_breaks_in_quoted_cells_and_empty_lines_are_fine():
    found, _ = read_source(b'pid,x\na,"1\n2"\n\nb,"say ""hi""\nyou"\n', Format.CSV, ["pid", "x"])
    assert found.column("x").to_pylist() == ["1\n2", 'say "hi"\nyou']


def test_an_open_quote_is_refused():
    refused(csv_of(*ROWS) + b'"p99,', "csv")


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault():
    content = b"\xef\xbb\xbf" + csv_of(*ROWS).replace(b"\n", b"\r\n")
    found, _ = read_source(content, Format.CSV, NAMES)
    assert found.column("seen").to_pylist() == ["2024-02-29T08:00:00Z"] * 50


def test_cells_of_a_csv_stay_the_text_they_are():
    content = b"a,b,c\n007,NA,\n1e5,true,null\n"
    found, _ = read_source(content, Format.CSV, ["a", "b", "c"])
    assert found.to_pylist() == [{"a": "007", "b": "NA", "c": ""}, {"a": "1e5", "b": "true", "c": "null"}]


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([[1]]),
        pa.array([b"x"]),
        pa.array([{"a": 1}]),
        pa.array([1], pa.duration("s")),
        pa.array([1], pa.time32("s")),
    ],
)
def test_a_type_that_no_column_can_hold_is_refused(cells):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": cells}), sink)
    problem = refused(sink.getvalue().to_pybytes(), "parquet", ["x"])
    assert problem.where == {"column": "x"}


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array([10**9], pa.int32()), pa.date32()),
        (pa.array([10**12]), pa.timestamp("s")),
        (pa.array([10**17]), pa.timestamp("ms")),
    ],
)
def test_dates_beyond_the_calendar_are_refused(cells, kind):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": cells.cast(kind)}), sink)
    refused(sink.getvalue().to_pybytes(), "parquet", ["x"])


def test_moments_are_read_in_utc_to_the_microsecond_whatever_zone_a_file_names():
    cells = pa.array([1_582_963_200_123_456_789], pa.int64())
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", tz="Asia/Shanghai"), pa.timestamp("ns", tz="+08:00")):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([("x", kind)])) as writer:
            writer.write_table(pa.table({"x": cells.cast(kind)}))
        found, _ = read_source(sink.getvalue().to_pybytes(), Format.ARROW, ["x"])
        assert found.column("x").to_pylist() == [datetime(2020, 2, 29, 8, 0, 0, 123456)]


def test_an_unknown_format_is_refused():
    with pytest.raises(Invalid) as caught:
        format_of("xlsx")
    assert caught.value.code == "ingest.format"
    assert format_of("csv") is Format.CSV
