"""Files as houses have them: without a header, with semicolons, from Excel. What is wrong is said with a way out, and no cell is shown."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from banyan.encrypt import table_file
from banyan.encrypt.declared import Declared
from banyan.encrypt.rows import read_rows
from banyan.encrypt.terms import Bounded, LeastSquares, Terms
from banyan.errors import Refused

# Values of one person; none of them may be in a refusal, nor a part of one that could be recognised.
PERSON = ("ZhangWei4711", "northwing", "98765.43", "31337", "8086")
HEADER = "pid,region,cost,stay,age"
AGE, STAY, COST = Bounded("age", 0, 0, 110), Bounded("stay", 0, 0, 400), Bounded("cost", 2, 0, 100_000)
TERMS = Terms(
    provider="hospital-a", unit="pid", population="patients", profile="sum58", group_by="region", groups=("north", "south"),
    max_groups=1, totals=(COST, STAY), squares=(), least_squares=LeastSquares((AGE,), STAY), units=100,
)  # fmt: skip
ROW = ",".join(PERSON)
GOOD = "p1,north,1.50,3,40"


@pytest.fixture
def refused(tmp_path):
    """The refusal of a file, in which no value of the person stands."""

    def reading(content, name="rows.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(Refused) as found:
            read_rows(path, Declared(TERMS), **({"drop_nulls": False} | options))
        told = f"{found.value} {found.value.where}"
        for value in PERSON:
            assert value not in told
        return found.value

    return reading


HEADLESS = {
    "plain": f"{ROW}\n{GOOD}\n",
    "one row": ROW,
    "semicolons": ROW.replace(",", ";") + "\n",
    "tabs": ROW.replace(",", "\t") + "\n",
    "a byte order mark": "\ufeff" + ROW + "\n",
    "one cell": PERSON[0] + "\n",
    "an open quote": f'"{ROW}\n{GOOD}\n',
    "a quote in a cell": f'{PERSON[0]},"no"rth,{PERSON[2]}\n',
    "carriage returns": f"{ROW}\r{GOOD}\r",
    "UTF-16": f"{ROW}\r\n".encode("utf-16"),
    "UTF-16 without a mark": f"{ROW}\r\n".encode("utf-16-le"),
    "Latin-1": f"é{ROW}\n".encode("latin-1"),
    "a zero byte": f"{ROW}\0\n",
    "the same value in all cells": ",".join([PERSON[0]] * 5) + "\n",
    "many cells": ",".join(PERSON * 30) + "\n",
}


@pytest.mark.parametrize("content", HEADLESS.values(), ids=HEADLESS)
def test_a_file_without_a_header_shows_no_value_of_its_first_row(refused, content):
    problem = refused(content)
    assert problem.code in ("data.column", "data.unreadable")
    assert problem.where["line"] == 1
    assert problem.way_out


def test_what_a_header_would_need_is_said(refused):
    problem = refused(HEADLESS["plain"])
    assert problem.text.startswith("the first line has 5 cells, and none of them is a name that is needed")
    assert problem.way_out == "a first line that names the columns; needed are pid, region, cost, stay, age"


def test_parquet_whose_names_are_a_row_shows_none_of_them(refused, tmp_path):
    pq.write_table(pa.table({value: ["x"] for value in PERSON}), tmp_path / "t.parquet")
    problem = refused((tmp_path / "t.parquet").read_bytes(), "rows.parquet")
    assert problem.text == "none of the 5 columns of the file has a name that is needed"
    assert "pid, region, cost" in problem.way_out


def test_the_names_are_shown_where_a_needed_one_is_among_them(refused):
    problem = refused("pid,region,cost,length_of_stay,age\n")
    assert problem.text == "the file has no column stay; its columns are pid, region, cost, length_of_stay, age"
    assert problem.way_out == "a column stay"


@pytest.mark.parametrize(
    ("content", "code", "line", "says", "way_out"),
    [
        (HEADER.replace(",", ";"), "data.column", 1, "separated by semicolons, and commas are needed", "CSV UTF-8"),
        (HEADER.replace(",", "\t"), "data.column", 1, "separated by tabs", "points in decimal numbers"),
        (HEADER.replace(",", "|"), "data.column", 1, "separated by vertical bars", "commas between the cells"),
        (HEADER.replace(",", " , "), "data.column", None, "in blanks, quotes or capitals only", "written as pid"),
        (HEADER.upper(), "data.column", None, "in blanks, quotes or capitals only", "written as pid"),
        (f"Report of 2026\n\n{HEADER}\n{GOOD}\n", "data.column", 1, "line 3 names the columns", "lines above line 3"),
        (f"\n{HEADER}\n{GOOD}\n", "data.empty", 1, "the first line is empty", "delete the lines above"),
        ("", "data.empty", 1, "the file is empty", "names the columns"),
        (HEADER.encode("utf-16"), "data.unreadable", 1, "UTF-16 text (Excel's Unicode text)", "CSV UTF-8"),
        (HEADER.encode("utf-16-be"), "data.unreadable", 1, "zero byte", "CSV UTF-8"),
        (f"{HEADER}\r{GOOD}\r", "data.unreadable", 1, "carriage return alone", "ordinary line ends"),
        (b"PK\x03\x04 sheet", "data.unreadable", 1, "a spreadsheet or an archive", "CSV UTF-8"),
        (b"PAR1 data", "data.unreadable", 1, "the file is Parquet", "CSV UTF-8"),
        (f'"{HEADER}\n', "data.unreadable", 1, "a quote in the first line is not closed", "close the quote"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_first_line_is_said_with_a_way_out(refused, content, code, line, says, way_out):
    problem = refused(content)
    assert problem.code == code
    assert problem.where.get("line") == line
    assert says in problem.text
    assert way_out in problem.way_out


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (f'{GOOD}\np2,"north,1,2,3\n{ROW}\n', 3),
        (f'{GOOD}\n"p2,north,1,2,3\n{ROW}\n{ROW}\n', 3),
        (f'"p1\n",north,1,2,3\np2,south,1,2,"3\n{ROW}\n', 4),
        (f'p1,"no\nrth",1,"2,3\n{ROW}\n', 3),
        (f'p1,north,1,2,"3\np2,north,1,2,3\np3,north,1,2,"y"\n{ROW}\n', 2),
        (f'p1,"no""rth",1,"",3\n{ROW},"\n{ROW}\n', 3),
    ],
)
def test_a_quote_that_is_left_open_is_told_where_it_was_opened(refused, rows, line):
    problem = refused(f"{HEADER}\n{rows}")
    assert (problem.code, problem.where["line"]) == ("data.unreadable", line)
    assert problem.text == "a quote that is opened on this line is not closed where its cell ends"
    assert "one quote before and one after" in problem.way_out


def test_a_quote_left_open_in_a_column_that_nobody_needs_swallows_no_rows(refused):
    problem = refused(f'{HEADER},note\n{GOOD},a\n{GOOD},"b\n{GOOD},c\n{GOOD},"d"\n{GOOD},e\n')
    assert (problem.code, problem.where["line"]) == ("data.unreadable", 3)


def test_quotes_and_line_breaks_in_a_text_are_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f'{HEADER},note\n{GOOD},"said ""no""\nand left"\n{GOOD},e\n')
    assert len(read_rows(path, Declared(TERMS), drop_nulls=False)) == 2


@pytest.mark.parametrize(
    ("row", "code", "says"),
    [
        ("p2,north,NA,2,3", "data.number", "--null-value NA --drop-nulls"),
        ("p2,NULL,1,2,3", "data.group", "--null-value NA --drop-nulls"),
        ("p2,north,1,2,31337x", "data.number", "--null-value NA --drop-nulls"),
        ("p2,north,98765.433,2,3", "data.number", "at most 2 decimals"),
        (f"{PERSON[0]},north,1,2", "data.unreadable", "put quotes around"),
        (f"{ROW},{ROW}", "data.unreadable", "put quotes around"),
        (f"{PERSON[0]}\0,north,1,2,3", "data.unit", "a quote may be left open"),
        (f'"{PERSON[0]}\n{PERSON[0]}",north,1,2,3', "data.unit", "a quote may be left open"),
        (f"p2,{PERSON[1]},1,2,3", "data.group", "one of north, south"),
    ],
)
def test_a_row_that_does_not_fit_is_told_without_its_values(refused, row, code, says):
    problem = refused(f"{HEADER}\n{GOOD}\n{row}\n")
    assert (problem.code, problem.where["line"]) == (code, 3)
    assert says in problem.way_out


def test_the_way_out_for_na_is_the_one_that_is_said(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}\n{GOOD}\np2,north,NA,1,2\n")
    rows = read_rows(path, Declared(TERMS, null_values=("NA",)), drop_nulls=True)
    assert (rows.units, rows.dropped) == (1, 1)


def costs(*texts):
    return f"{HEADER}\n" + "\n".join(f"p{at},north,{text},1,2" for at, text in enumerate(texts))


@pytest.mark.parametrize("batch", [8 << 20, 64])
@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (("900", "1.250"), 3),
        (("1.250", "900"), 2),
        (("1.250", "12.5"), 2),
        (("12.000", "9", "3.000"), 2),
        (("7.5", "1e3", "1.2500"), 4),
    ],
)
def test_a_point_that_may_be_one_of_thousands_is_refused(refused, monkeypatch, batch, texts, line):
    monkeypatch.setattr(table_file, "BATCH_BYTES", batch)
    problem = refused(costs(*texts, *["900"] * 20))
    assert (problem.code, problem.where) == ("data.number", {"file": "rows.csv", "line": line, "field": "cost"})
    assert "its point may be one of thousands" in problem.text
    assert "equally many decimals in every cell" in problem.way_out


@pytest.mark.parametrize(
    ("texts", "total"),
    [
        (("900.000", "1.250"), 90_125),
        (("900", "1.2", "1.25"), 90_245),
        (("1e3", "2.5e1"), 102_500),
        (("1.2500", "0.0000"), 125),
    ],
)
def test_zeros_are_dropped_where_all_cells_have_equally_many_decimals(tmp_path, texts, total):
    path = tmp_path / "rows.csv"
    path.write_text(costs(*texts))
    rows = read_rows(path, Declared(TERMS), drop_nulls=False)
    assert sum(int(part.columns["cost"].sum()) for part in rows.parts) == total


def test_a_whole_number_with_zeros_behind_its_point_beside_others_is_refused(refused):
    problem = refused(f"{HEADER}\np1,north,1,3,40\np2,north,1,1.000,40\n")
    assert problem.where["line"] == 3
    assert "zeros behind a point" in problem.text
