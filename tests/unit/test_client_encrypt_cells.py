"""What a cell counts as: exactly its number on the grid or a refusal, one text for one unit, a public group or a refusal."""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa
import pytest
from banyan.encrypt import cells
from banyan.encrypt.cells import CellFault
from banyan.encrypt.terms import Bounded
from hypothesis import given
from hypothesis import strategies as st

from assets.cells import unit_rule
from privacy.schema import ColumnType

COST = Bounded("cost", 2, 0, 100)
DAYS = Bounded("days", 0, 0, 100)


def numbers(texts, bounded=COST):
    return cells.numbers(pa.array(texts, pa.string()), bounded).tolist()


def fault(texts, bounded=COST):
    with pytest.raises(CellFault) as found:
        numbers(texts, bounded)
    return found.value.at, found.value.why


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5", 150), ("-2", -200), ("+3", 300), ("1.500", 150), (".5", 50), ("5.", 500), ("1e2", 10_000), ("12.5e-1", 125),
        ("007", 700), (" 1\t", 100), ("-0.00", 0), ("0." + "0" * 90, 0), ("23058430092136939.51", 2**61 - 1),
    ],
)  # fmt: skip
def test_a_number_is_taken_exactly(text, expected):
    assert numbers([text]) == [expected]
    assert numbers(["7.25", text]) == [725, expected]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1.505", "has more than 2 decimals"), ("1.0000000000000000000000000000001", "has more than 2 decimals"),
        ("1e-3", "has more than 2 decimals"), ("23058430092136939.52", "is too large"), ("1e90", "is too large"),
        ("-23058430092136939.52", "is too large"), ("-92233720368547758.08", "is too large"), ("9" * 99, "is too large"),
        ("NaN", "is not a number"), ("nan", "is not a number"), ("inf", "is not a number"), ("-Infinity", "is not a number"),
        ("1_000", "is not a number"), ("1,5", "is not a number"), ("९", "is not a number"), ("\uff11\uff12", "is not a number"),
        ("0x1", "is not a number"), ("true", "is not a number"), ("1e9999", "is not a number"), ("1" * 101, "is not a number"),
        ("--1", "is not a number"), ("1 2", "is not a number"), ("\n1", "is not a number"),
        ("1\n", "is not a number"),
    ],
)  # fmt: skip
def test_what_is_no_number_of_the_column_is_refused_with_its_place(text, why):
    assert fault(["1.5", "2", text, text]) == (2, why)
    assert fault(["1e1", "2", "2", text]) == (3, why)


def test_the_first_of_several_faults_is_told():
    assert fault(["1", "x", "2.345", "y"]) == (1, "is not a number")
    assert fault(["1e0", "2.345", "x"]) == (1, "has more than 2 decimals")


def test_a_whole_number_may_have_zeros_behind_the_point_and_nothing_else():
    assert numbers(["7", "7.0", "7e0", "70e-1"], DAYS) == [7, 7, 7, 7]
    assert fault(["7.5"], DAYS) == (0, "is not a whole number")


@given(
    st.lists(st.decimals(-(10**16), 10**16, allow_nan=False, allow_infinity=False, places=3), min_size=1, max_size=20),
    st.integers(0, 9),
)
def test_every_decimal_is_exact_or_refused(values, scale):
    bounded = Bounded("x", scale, 0, 1)
    exact = [Fraction(value) * 10**scale for value in values]
    texts = [str(value) for value in values]
    if all(value.denominator == 1 and abs(value) < 2**61 for value in exact):
        assert numbers(texts, bounded) == exact
    else:
        with pytest.raises(CellFault):
            numbers(texts, bounded)


def units(texts, *, whole):
    return cells.units(pa.array(texts, pa.string()), whole=whole).to_pylist()


def test_a_unit_has_one_text_whatever_the_source():
    assert units([" p1", "p1\t", "p\u0065\u0301", "p\u00e9", "007"], whole=False) == ["p1", "p1", "pé", "pé", "007"]
    assert units(["7", "07", "7.0", " 7 ", "+7", "70e-1", "-0", "0"], whole=True) == ["7"] * 6 + ["0", "0"]


@pytest.mark.parametrize(
    "text", ["7", "007", " 7", "7.0", "-3", "1e3", "12345678901234567890123", "p1", "é", "e\u0301"]
)
@pytest.mark.parametrize("kind", [ColumnType.INT, ColumnType.STRING])
def test_a_unit_has_the_text_that_ingest_would_give_it(text, kind):
    expected = unit_rule(kind, None)(text)
    if kind is ColumnType.INT and not text.strip()[0].isdigit() and text[0] != "-":
        with pytest.raises(CellFault, match="not a whole number"):
            units([text], whole=True)
    else:
        assert units([text], whole=kind is ColumnType.INT) == [expected]


def test_a_unit_that_is_no_whole_number_is_refused_where_it_stands():
    with pytest.raises(CellFault) as found:
        units(["1", "2.0", "1", "x1"], whole=True)
    assert (found.value.code, found.value.at) == ("data.unit", 3)


def test_a_group_is_compared_in_one_form_and_a_foreign_one_refused_without_naming_it():
    known = pa.array(["north", "caf\u00e9"])
    assert cells.groups(pa.array(["cafe\u0301", "north"]), known).tolist() == [1, 0]
    for other in ("North", "north ", "westeros"):
        with pytest.raises(CellFault) as found:
            cells.groups(pa.array(["north", other]), known)
        assert (found.value.code, found.value.at) == ("data.group", 1)
        assert "westeros" not in f"{found.value.why} {found.value.way_out}"
        assert "north, café" in str(found.value.way_out)


def test_nothing_is_null_space_or_a_declared_text():
    column = pa.array(["", " ", "\t", None, "NA", "0", "null"])
    assert cells.nothing(column, [""]).tolist() == [True, True, True, True, False, False, False]
    assert cells.nothing(column, ["NA", "null"]).tolist() == [True, True, True, True, True, False, True]
