"""One rule for one cell, whatever file it came from: exact, rounded half-even before bounds, or a reason from a closed set."""

import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.cells import Reason, rule_for, unit_rule
from assets.grid import GRID
from privacy.schema import Column, ColumnType

INT = Column("x", ColumnType.INT, lower=-5, upper=110)
FREE = Column("x", ColumnType.INT)
CENTS = Column("x", ColumnType.DECIMAL, scale=2, lower=Decimal("0.00"), upper=Decimal("10.00"))
DAY = Column("x", ColumnType.DATE, lower=date(2020, 1, 1), upper=date(2020, 12, 31))
MOMENT = Column(
    "x", ColumnType.TIMESTAMP, lower=datetime(2020, 1, 1, tzinfo=UTC), upper=datetime(2020, 12, 31, tzinfo=UTC)
)
TEXT = Column("x", ColumnType.STRING, max_length=4)
KIND = Column("x", ColumnType.CATEGORY, values=("a", "é", "1"))
BOOL = Column("x", ColumnType.BOOL)


@pytest.mark.parametrize(
    ("column", "cell", "wanted"),
    [
        (INT, "42", 42),
        (INT, " 42\t", 42),
        (INT, "+42", 42),
        (INT, "42.0", 42),
        (INT, "4.2e1", 42),
        (INT, "-5", -5),
        (INT, 110, 110),
        (INT, 7.0, 7),
        (INT, Decimal("7.00"), 7),
        (INT, "-6", Reason.BELOW_LOWER),
        (INT, "111", Reason.ABOVE_UPPER),
        (INT, "1e999", Reason.ABOVE_UPPER),
        (INT, "-1e999", Reason.BELOW_LOWER),
        (INT, "9" * 100, Reason.ABOVE_UPPER),
        (INT, "9" * 101, Reason.NOT_A_NUMBER),
        (INT, "4.5", Reason.NOT_AN_INTEGER),
        (INT, "1e-999", Reason.NOT_AN_INTEGER),
        (INT, 4.5, Reason.NOT_AN_INTEGER),
        (INT, "", Reason.NOT_A_NUMBER),
        (INT, "abc", Reason.NOT_A_NUMBER),
        (INT, "0x10", Reason.NOT_A_NUMBER),
        (INT, "1_000", Reason.NOT_A_NUMBER),
        (INT, "1,000", Reason.NOT_A_NUMBER),
        (INT, "１２", Reason.NOT_A_NUMBER),
        (INT, "nan", Reason.NOT_A_NUMBER),
        (INT, "Infinity", Reason.NOT_A_NUMBER),
        (INT, float("nan"), Reason.NOT_A_NUMBER),
        (INT, float("inf"), Reason.NOT_A_NUMBER),
        (INT, Decimal("sNaN"), Reason.NOT_A_NUMBER),
        (INT, True, Reason.NOT_A_NUMBER),
        (INT, date(2020, 1, 1), Reason.NOT_A_NUMBER),
        (FREE, str(GRID), GRID),
        (FREE, GRID + 1, Reason.ABOVE_UPPER),
        (FREE, -GRID - 1, Reason.BELOW_LOWER),
        (CENTS, "1.005", Decimal("1.00")),
        (CENTS, "1.015", Decimal("1.02")),
        (CENTS, 1.015, Decimal("1.02")),
        (CENTS, "1.0050000000000000000000000001", Decimal("1.01")),
        (CENTS, 3, Decimal("3.00")),
        (CENTS, "-0.004", Decimal("0.00")),
        (CENTS, "-0.006", Reason.BELOW_LOWER),
        (CENTS, "10.005", Decimal("10.00")),
        (CENTS, "10.006", Reason.ABOVE_UPPER),
        (CENTS, "1e30", Reason.ABOVE_UPPER),
        (CENTS, "-1e999", Reason.BELOW_LOWER),
        (CENTS, "1e-999", Decimal("0.00")),
        (CENTS, "x", Reason.NOT_A_NUMBER),
        (Column("x", ColumnType.DECIMAL, scale=2), "90071992547409.91", Decimal("90071992547409.91")),
        (Column("x", ColumnType.DECIMAL, scale=2), "90071992547409.92", Reason.ABOVE_UPPER),
        (DAY, "2020-02-29", date(2020, 2, 29)),
        (DAY, date(2020, 2, 29), date(2020, 2, 29)),
        (DAY, datetime(2020, 2, 29), date(2020, 2, 29)),
        (DAY, datetime(2020, 2, 29, 1), Reason.NOT_A_DATE),
        (DAY, "2020-02-30", Reason.NOT_A_DATE),
        (DAY, "20200229", Reason.NOT_A_DATE),
        (DAY, "2020-W09-6", Reason.NOT_A_DATE),
        (DAY, 20200229, Reason.NOT_A_DATE),
        (DAY, "2019-12-31", Reason.BELOW_LOWER),
        (DAY, "2021-01-01", Reason.ABOVE_UPPER),
        (MOMENT, "2020-02-29T08:00:00Z", datetime(2020, 2, 29, 8, tzinfo=UTC)),
        (MOMENT, "2020-02-29 08:00", datetime(2020, 2, 29, 8, tzinfo=UTC)),
        (MOMENT, "2020-02-29", datetime(2020, 2, 29, tzinfo=UTC)),
        (MOMENT, "2020-02-29T08:00:00.1234567+08:00", datetime(2020, 2, 29, 0, 0, 0, 123456, tzinfo=UTC)),
        (MOMENT, datetime(2020, 2, 29, 8, tzinfo=timezone(timedelta(hours=8))), datetime(2020, 2, 29, tzinfo=UTC)),
        (MOMENT, date(2020, 2, 29), datetime(2020, 2, 29, tzinfo=UTC)),
        (MOMENT, "2020-02-29T25:00:00Z", Reason.NOT_A_TIMESTAMP),
        (MOMENT, "0001-01-01T00:00:00+08:00", Reason.NOT_A_TIMESTAMP),
        (MOMENT, "2020-02-2908", Reason.NOT_A_TIMESTAMP),
        (MOMENT, 1582963200, Reason.NOT_A_TIMESTAMP),
        (MOMENT, "2021-01-01T00:00:00Z", Reason.ABOVE_UPPER),
        (TEXT, "abcd", "abcd"),
        (TEXT, " a ", " a "),
        (TEXT, "", ""),
        (TEXT, "e\u0301e\u0301e\u0301e\u0301", "éééé"),
        (TEXT, "榕城市区", "榕城市区"),
        (TEXT, 1234, "1234"),
        (TEXT, "abcde", Reason.TOO_LONG),
        (TEXT, "a\nb", Reason.NOT_TEXT),
        (TEXT, "a\0b", Reason.NOT_TEXT),
        (TEXT, "a\u2028b", Reason.NOT_TEXT),
        (TEXT, "a\x85b", Reason.NOT_TEXT),
        (TEXT, 1.5, Reason.NOT_TEXT),
        (TEXT, True, Reason.NOT_TEXT),
        (KIND, "a", "a"),
        (KIND, "e\u0301", "é"),
        (KIND, 1, "1"),
        (KIND, "A", Reason.NOT_IN_CATEGORIES),
        (KIND, "", Reason.NOT_IN_CATEGORIES),
        (KIND, "a\n", Reason.NOT_IN_CATEGORIES),
        (BOOL, "TRUE", True),
        (BOOL, "0", False),
        (BOOL, 1, True),
        (BOOL, False, False),
        (BOOL, 2, Reason.NOT_A_BOOL),
        (BOOL, "yes", Reason.NOT_A_BOOL),
        (BOOL, 1.0, Reason.NOT_A_BOOL),
    ],
)  # fmt: skip
def test_a_cell_is_stored_as_declared_or_has_a_reason(column, cell, wanted):
    found = rule_for(column)(cell)
    assert found == wanted
    assert type(found) is type(wanted)
    assert str(found) == str(wanted)


@pytest.mark.parametrize(
    ("kind", "cell", "wanted"),
    [
        (ColumnType.STRING, " N14228 ", "N14228"),
        (ColumnType.STRING, "\u3000榕\u3000", "榕"),
        (ColumnType.STRING, "Ame\u0301lie", "Amélie"),
        (ColumnType.STRING, "007", "007"),
        (ColumnType.STRING, 7, "7"),
        (ColumnType.STRING, 7.0, Reason.NOT_TEXT),
        (ColumnType.STRING, "", Reason.UNIT_MISSING),
        (ColumnType.STRING, " \t\u3000", Reason.UNIT_MISSING),
        (ColumnType.STRING, "a\nb", Reason.NOT_TEXT),
        (ColumnType.STRING, "123456789", Reason.TOO_LONG),
        (ColumnType.INT, "007", "7"),
        (ColumnType.INT, " 7.0", "7"),
        (ColumnType.INT, 7, "7"),
        (ColumnType.INT, 7.0, "7"),
        (ColumnType.INT, "-0", "0"),
        (ColumnType.INT, "  ", Reason.UNIT_MISSING),
        (ColumnType.INT, "7.5", Reason.NOT_AN_INTEGER),
        (ColumnType.INT, "N7", Reason.NOT_A_NUMBER),
        (ColumnType.INT, "1e50", Reason.TOO_LONG),
    ],
)
def test_one_unit_has_one_text_whichever_source_it_came_from(kind, cell, wanted):
    found = unit_rule(kind, 8)(cell)
    assert found == wanted
    assert isinstance(found, Reason) == isinstance(wanted, Reason)


@given(st.decimals(-20, 20, allow_nan=False, allow_infinity=False))
def test_decimals_are_rounded_exactly_and_half_even_before_bounds(number):
    rounded = number.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    wanted = Reason.BELOW_LOWER if rounded < 0 else Reason.ABOVE_UPPER if rounded > 10 else rounded
    for cell in (number, str(number)):
        assert rule_for(CENTS)(cell) == wanted


CELLS = st.one_of(
    st.text(), st.integers(), st.floats(), st.decimals(), st.booleans(), st.dates(), st.datetimes(), st.binary(),
    st.from_regex(r"[-+]?[0-9.]{0,12}([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]{0,12})?(Z|[-+][0-9:]{0,6})?", fullmatch=True),
)  # fmt: skip


@given(CELLS)
def test_no_cell_raises_and_what_is_stored_is_within_the_declaration(cell):
    for column in (INT, FREE, CENTS, DAY, MOMENT):
        found = rule_for(column)(cell)
        if not isinstance(found, Reason):
            reach = GRID if column.lower is None else None
            assert (-reach if reach else column.lower) <= found <= (reach or column.upper)
    for rule in (rule_for(TEXT), unit_rule(ColumnType.STRING, 4), unit_rule(ColumnType.INT, 4)):
        found = rule(cell)
        assert isinstance(found, str)
        if not isinstance(found, Reason):
            assert len(found) <= 4
            assert unicodedata.is_normalized("NFC", found)
            assert not any(unicodedata.category(c) == "Cc" for c in found)
    assert rule_for(KIND)(cell) in ("a", "é", "1", Reason.NOT_IN_CATEGORIES)
    assert rule_for(BOOL)(cell) in (True, False, Reason.NOT_A_BOOL)
