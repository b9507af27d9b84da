"""Asked ends: less noise, within what is declared, for added columns only; the container clamps to exactly what the noise is fitted for."""

from decimal import Decimal
from fractions import Fraction

import pytest

from core.errors import Invalid
from privacy.accountant import Accountant
from privacy.schema import Column, ColumnType, TableSchema
from privacy.sql.plan import QueryRequest, plan_query

SCHEMA = TableSchema(
    "t", "unit",
    (
        Column("unit", ColumnType.STRING, max_length=8),
        Column("x", ColumnType.INT, lower=-100, upper=1000),
        Column("d", ColumnType.DECIMAL, scale=2, lower=Decimal(0), upper=Decimal(50)),
        Column("free", ColumnType.INT),
    ),
    1000, 100,
)  # fmt: skip


def plan(sql, **clip):
    request = QueryRequest(
        sql, Fraction(1), None, 1, 5, Accountant.BASIC,
        tuple((name, Decimal(str(low)), Decimal(str(high))) for name, (low, high) in clip.items()),
    )  # fmt: skip
    return plan_query(request, SCHEMA)


def test_the_noise_is_fitted_for_the_ends_that_the_container_clamps_to():
    wide, narrow = plan("SELECT SUM(x) FROM t"), plan("SELECT SUM(x) FROM t", x=(-10, 20))
    assert (wide.measures[0].linf, narrow.measures[0].linf) == (5 * 1000, 5 * 20)
    assert "< -10 THEN -10" in narrow.block_sql
    assert "> 20 THEN 20" in narrow.block_sql


def test_decimals_are_clipped_on_their_grid_and_an_average_stays_between_the_ends():
    narrow = plan("SELECT AVG(d) FROM t", d=("1.5", "2.25"))
    assert (narrow.outputs[0].lower, narrow.outputs[0].upper) == (150, 225)
    assert "< 150 THEN 150" in narrow.block_sql


def test_conditions_still_see_the_true_value():
    assert "500" in plan("SELECT SUM(x) FROM t WHERE x > 500", x=(0, 10)).block_sql


@pytest.mark.parametrize(
    ("sql", "clip"),
    [
        ("SELECT SUM(x) FROM t", {"x": (-101, 5)}),
        ("SELECT SUM(x) FROM t", {"x": (0, 1001)}),
        ("SELECT SUM(x) FROM t", {"x": (0.5, 3)}),
        ("SELECT SUM(x) FROM t", {"x": (5, 5)}),
        ("SELECT SUM(d) FROM t", {"d": ("0.001", 5)}),
        ("SELECT SUM(x) FROM t", {"d": (1, 2)}),
        ("SELECT COUNT(*) FROM t", {"x": (1, 2)}),
        ("SELECT SUM(x) FROM t", {"nowhere": (1, 2)}),
    ],
)
def test_ends_that_cannot_be_are_refused_by_name(sql, clip):
    with pytest.raises(Invalid) as refusal:
        plan(sql, **clip)
    assert refusal.value.code == "bounds.clip"
    assert next(iter(clip)) in refusal.value.where["field"]
