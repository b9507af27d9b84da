"""A provider's file is read whole and exactly, or refused with the line and column of what is wrong, and without the value."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from banyan.encrypt import table_file, text_hash
from banyan.encrypt.declared import Declared
from banyan.encrypt.rows import read_rows
from banyan.encrypt.terms import Bounded, LeastSquares, Terms
from banyan.encrypt.text_hash import Repeats
from banyan.errors import Refused

SECRET = "s3cret-value"


def terms(**changed):
    given = {
        "provider": "hospital-a", "unit": "pid", "population": "patients", "profile": "sum58", "group_by": "region",
        "groups": ("north", "south"), "max_groups": 1, "totals": (Bounded("cost", 2, 0, 100_000),), "squares": (),
        "least_squares": None, "units": 100,
    }  # fmt: skip
    return Terms(**(given | changed))


@pytest.fixture
def read(tmp_path):
    def reading(content, name="rows.csv", declared=None, **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_rows(path, declared or Declared(terms()), **({"drop_nulls": False} | options))

    return reading


def refused(read, content, code, **options):
    with pytest.raises(Refused) as found:
        read(content, **options)
    assert found.value.code == code
    assert SECRET not in str(found.value)
    return found.value


def told(rows):
    """Unit, group and numbers of every row, in no order of the file's."""
    found = []
    for part in rows.parts:
        names, numbers = (
            part.names.to_pylist(),
            zip(*(column.tolist() for column in part.columns.values()), strict=True),
        )
        found += zip([names[at] for at in part.unit], part.group.tolist(), numbers, strict=True)
    return sorted(found)


PLAIN = "pid,region,cost,note\np1,north,1.50,a\np2,south,-2,b\np1,north,3,c\n"
EXPECTED = [("p1", 0, (150,)), ("p1", 0, (300,)), ("p2", 1, (-200,))]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\np2", "\n\n\np2"),
        'note,cost,"pid",region\n"a, with\nlines",1.50,p1,north\nb,-2,p2,south\nc,3.0, p1 ,north',
    ],
)
def test_the_same_rows_whatever_the_form(read, content):
    rows = read(content)
    assert told(rows) == EXPECTED
    assert (rows.units, rows.dropped, rows.repeated) == (2, 0, 0)


@pytest.mark.parametrize(
    "cost",
    [
        pa.array([1.5, -2.0, 3.0]), pa.array(["1.5", "-2", "3.00"]), pa.array(["1.5", "-2", "3"]).dictionary_encode(),
        pa.array([1.5, -2.0, 3.0], pa.float32()), pa.array(["1.5", "-2", "3"]).cast(pa.decimal128(9, 4)),
    ],
)  # fmt: skip
def test_parquet_of_any_type_of_number(read, tmp_path, cost):
    table = pa.table({
        "pid": pa.array(["p1", "p2", "p1"]).dictionary_encode(), "region": ["north", "south", "north"], "cost": cost,
        "scan": [[1], [2], [3]],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    assert told(read((tmp_path / "t.parquet").read_bytes(), "rows.parquet")) == EXPECTED


def test_units_of_type_int_are_one_unit_in_every_spelling(read):
    content = "pid,region,cost\n7,north,1\n07,north,1\n7.0,north,1\n8,north,1\n"
    assert read(content).units == 4
    assert read(content, declared=Declared(terms(), whole_units=True)).units == 2


def test_many_batches_are_one_file(read, monkeypatch):
    monkeypatch.setattr(table_file, "BATCH_BYTES", 1 << 10)
    lines = [f"p{at % 301},{'north' if at % 2 else 'south'},{at}.{at % 100:02d}" for at in range(2000)]
    seen = []
    rows = read("pid,region,cost\n" + "\n".join(lines), progress=lambda done, of: seen.append((done, of)))
    assert told(rows) == sorted((f"p{at % 301}", 1 - at % 2, (at * 100 + at % 100,)) for at in range(2000))
    assert rows.units == 301
    assert len(rows.parts) == 32
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


# What stands in the third data row of a file with a cell of two lines before it; the row begins on line 5.
BEFORE = f'pid,region,cost,note\np1,north,1,"a\n{SECRET}"\np2,south,2,\n'


@pytest.mark.parametrize(
    ("row", "code", "column", "says"),
    [
        (f",north,1,{SECRET}", "data.null", "pid", "column pid: the cell holds nothing"),
        ("  ,north,1,", "data.null", "pid", "the cell holds nothing"),
        ("p3,,1,", "data.null", "region", "the cell holds nothing"),
        ("p3,north,,", "data.null", "cost", "the cell holds nothing"),
        (f"p3,{SECRET},1,", "data.group", "region", "the cell is none of the public groups"),
        ("p3,North,1,", "data.group", "region", "one of north, south"),
        (f"p3,north,{SECRET},", "data.number", "cost", "the cell is not a number"),
        ("p3,north,NaN,", "data.number", "cost", "the cell is not a number"),
        ("p3,north,1.005,", "data.number", "cost", "the cell has more than 2 decimals"),
        ("p3,north,1e40,", "data.number", "cost", "the cell is too large"),
    ],
)
@pytest.mark.parametrize("batch", [8 << 20, 64])
def test_what_is_refused_has_line_and_column(read, monkeypatch, row, code, column, says, batch):
    monkeypatch.setattr(table_file, "BATCH_BYTES", batch)
    problem = refused(read, f"{BEFORE}{row}\np4,north,1,\n", code)
    assert problem.where == {"file": "rows.csv", "line": 5, "field": column}
    assert problem.headline().endswith("rows.csv line 5")
    assert says in f"{problem.text} {problem.way_out}"


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [("pid", None, "data.null"), ("region", SECRET, "data.group"), ("cost", float("nan"), "data.number")],
)
def test_in_parquet_the_row_is_told(read, tmp_path, column, value, code):
    data = {"pid": ["p1", "p2", "p3"], "region": ["north"] * 3, "cost": [1.0, 2.0, 3.0]}
    data[column][2] = value
    pq.write_table(pa.table(data), tmp_path / "t.parquet")
    problem = refused(read, (tmp_path / "t.parquet").read_bytes(), code, name="rows.parquet")
    assert problem.where == {"file": "rows.parquet", "row": 3, "field": column}
    assert problem.text.startswith(f"row 3, column {column}: ")


@pytest.mark.parametrize(
    ("content", "code", "line", "says"),
    [
        (PLAIN.encode() + b"p3,north,1,\xff\xfe\n", "data.unreadable", 5, "not UTF-8"),
        (b"pid,\xff\n", "data.unreadable", 1, "first line"),
        (PLAIN + f"p3,north,{SECRET}\n", "data.unreadable", 5, "3 cells, and the header 4"),
        (PLAIN + f"p3,north,1,{SECRET},5\n", "data.unreadable", 5, "5 cells, and the header 4"),
        ("", "data.empty", 1, "is empty"),
        ("\n", "data.empty", 1, "names no columns"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_at_its_line(read, content, code, line, says):
    problem = refused(read, content, code)
    assert problem.where == {"file": "rows.csv", "line": line}
    assert says in problem.text


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("pid,region,cost,cost", "has 2 columns cost"),
        ("pid,pid,region,cost", "has 2 columns pid"),
        ("PID,region,cost,x", "has no column pid, but one that differs"),
        ("pid,region,costs,x", "has no column cost; its columns are pid, region, costs, x"),
    ],
)
def test_a_missing_or_doubled_column_is_refused(read, header, says):
    problem = refused(read, f"{header}\np1,north,1,1\n", "data.column")
    assert says in problem.text
    assert problem.where["field"] in ("pid", "cost")


def test_another_column_may_stand_twice(read):
    assert told(read("pid,x,region,x,cost\np1,a,north,b,2\n")) == [("p1", 0, (200,))]


@pytest.mark.parametrize("content", ["pid,region,cost\n", "pid,region,cost\n\n\n"])
def test_a_file_without_rows_is_refused(read, content):
    refused(read, content, "data.empty")


def test_formats_and_damaged_files(read, tmp_path):
    refused(read, "x", "data.format", name="rows.xlsx")
    refused(read, b"PAR1 nothing PAR1", "data.unreadable", name="rows.parquet")
    pq.write_table(
        pa.table({"pid": ["p"] * 9999, "region": ["north"] * 9999, "cost": range(9999)}), tmp_path / "t.parquet"
    )
    damaged = bytearray((tmp_path / "t.parquet").read_bytes())
    damaged[20:200] = bytes(180)
    refused(read, bytes(damaged), "data.unreadable", name="rows.parquet")
    for path, says in ((tmp_path / "none.csv", "there is no such file"), (tmp_path, "this is a folder")):
        with pytest.raises(Refused, match=r"file\.unusable") as found:
            read_rows(path, Declared(terms()), drop_nulls=False)
        assert says in found.value.text


def test_rows_with_an_empty_cell_are_left_out_whole_when_asked(read):
    content = "pid,region,cost\np1,north,\np2,NA,2\np3,south,3\n,south,4\n  ,south,5\np4,south,\n"
    rows = read(content, declared=Declared(terms(), null_values=("", "NA")), drop_nulls=True)
    assert told(rows) == [("p3", 1, (300,))]
    assert (rows.dropped, rows.units) == (5, 1)
    problem = refused(read, content, "data.group", drop_nulls=True)
    assert problem.where["line"] == 3
    refused(read, "pid,region,cost\np1,north,\n", "data.empty", drop_nulls=True)


def test_an_empty_cell_that_nobody_needs_is_no_fault(read):
    assert read("pid,region,cost,note\np1,north,1,\n").dropped == 0


def test_repeated_rows_are_counted_over_all_columns(read):
    rows = read(
        "pid,region,cost,day\np1,north,1,mon\np1,north,1,tue\np1,north,1,mon\np1,north,1,mon\np1,north,1.0,mon\n"
    )
    assert rows.repeated == 2
    assert len(rows) == 5


def test_repeats_are_exactly_those_of_a_set(monkeypatch):
    monkeypatch.setattr(text_hash, "_PIECE", 100)
    generator = np.random.default_rng(7)
    texts = ["".join("ab,é"[at] for at in generator.integers(0, 4, size)) for size in generator.integers(0, 4, 3000)]
    pairs = [(text, text[::-1] + "ab"[at % 2]) for at, text in enumerate(texts)]
    found = Repeats()
    for start in range(0, 3000, 700):
        found.take([pa.array(column) for column in zip(*pairs[start : start + 700], strict=True)])
    assert 0 < found.count() == len(pairs) - len(set(pairs)) < len(pairs)
    assert Repeats().count() == 0
    found.take([pa.array(["", "a", "", "b", ""])])
    assert found.count() == 2


def test_a_column_with_two_grids_is_refused(read):
    regression = LeastSquares((Bounded("age", 0, 0, 9),), Bounded("cost", 3, 0, 9))
    refused(read, PLAIN, "option.column", declared=Declared(terms(least_squares=regression)))


@pytest.mark.parametrize("batch", [8 << 20, 1 << 10])
def test_what_a_spreadsheet_wrote_is_read_as_python_reads_it(read, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(table_file, "BATCH_BYTES", batch)
    generator = np.random.default_rng(3)
    rows = [
        [f"p{generator.integers(20)}", ["north", "south"][generator.integers(2)], f"{generator.integers(-999, 999)}.5",
         ['say "hi"', "two\nlines", "a,b", "", "\r\n"][generator.integers(5)]]
        for _ in range(500)
    ]  # fmt: skip
    with Path(tmp_path / "written.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["pid", "region", "cost", "note"], *rows])
    found = read((tmp_path / "written.csv").read_bytes())
    expected = [(pid, ["north", "south"].index(region), (round(float(cost) * 100),)) for pid, region, cost, _ in rows]
    assert told(found) == sorted(expected)


MEASURED = """
import resource, sys
from pathlib import Path
from banyan.encrypt.bounding import bounded
from banyan.encrypt.declared import Declared
from banyan.encrypt.rows import read_rows
from banyan.encrypt.terms import Bounded, Terms
terms = Terms("a", "pid", "p", "sum58", "region", ("north", "south"), 1, (Bounded("cost", 2, 0, 10**6),), ("cost",), None, 10**6)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = bounded(read_rows(Path(sys.argv[1]), Declared(terms), drop_nulls=False), terms)
print(sum(found.vectors["units"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_file_takes_few_bytes_a_row(tmp_path):
    count = 1_000_000
    units = pa.array([f"patient-{number:09d}" for number in range(count)])
    region = pa.array(["north", "south"]).take(pa.array(np.arange(count) % 2))
    cost = pa.array([f"{number % 9973}.{number % 100:02d}" for number in range(count)])
    table = pa.table(
        {
            "pid": units,
            "region": region,
            "cost": cost,
            "note": pa.array(["a few words"]).take(pa.array(np.zeros(count, int))),
        }
    )
    pa.csv.write_csv(table, tmp_path / "rows.csv")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "rows.csv"], capture_output=True, text=True, check=True
    )
    kept, kibibytes = map(int, done.stdout.split())
    assert kept == count
    # Batches need some 100 MiB whatever the size of the file; ten million rows then stay well below 2 GiB.
    assert kibibytes < 280 * 1024
