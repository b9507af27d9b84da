"""Faults that were reported against peers (reference dp.md §5), one test a row, as far as the accepted language goes."""

from __future__ import annotations

from fractions import Fraction

import pytest

from core.errors import Invalid
from privacy.accountant import Accountant
from privacy.sql.combine import Totals, combine, read_partial
from privacy.sql.release import release
from tests.unit.sql_world import SCHEMA, ExactGate, partial_of, plan_of, some_rows, write_block


def refused(sql: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        plan_of(sql)
    return caught.value


def answer(tmp_path, sql: str, data: list[dict], groups: int = 100, rows: int = 1000) -> list[dict]:
    plan = plan_of(sql, groups=groups, rows=rows)
    partial = read_partial(partial_of(plan, write_block(tmp_path / "0.parquet", data)), plan)
    return list(release(combine([partial], plan), plan, ExactGate()).rows)


def test_row_1_a_sum_without_bounds_is_refused_and_never_released_without_noise():
    for sql in ("SELECT SUM(weight) FROM visits", "SELECT AVG(weight) FROM visits"):
        found = refused(sql)
        assert found.code == "bounds.required"
        assert "declare bounds" in found.way_out


@pytest.mark.parametrize("accountant", list(Accountant))
def test_row_2_a_mean_is_charged_for_its_sum_and_its_count(accountant):
    plan = plan_of("SELECT AVG(score) FROM visits", epsilon="1", accountant=accountant)
    assert len(plan.mechanisms) == 2
    assert sum((m.price for m in plan.mechanisms), Fraction(0)) <= max(plan.price.epsilon, plan.price.rho)
    assert plan.epsilon == 1


@pytest.mark.parametrize("accountant", list(Accountant))
def test_row_3_the_threshold_and_its_delta_come_from_one_mechanism_of_the_right_kind(accountant):
    plan = plan_of("SELECT surname, COUNT(*) FROM visits GROUP BY surname", accountant=accountant)
    assert {m.kind for m in plan.mechanisms} == {plan.threshold.kind}
    budget = plan.delta if accountant is Accountant.BASIC else plan.delta / 2
    assert plan.threshold.delta <= budget


def test_row_5_having_is_refused_and_never_ignored():
    for having in ("idontexist > 1", "COUNT(*) > 100", "n > 100"):
        found = refused(f"SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward HAVING {having}")
        assert found.code == "sql.not_allowed"
        assert "HAVING" in found.text


def test_row_7_an_empty_input_gives_the_same_schema_and_a_noised_number(tmp_path):
    plan = plan_of("SELECT COUNT(*) AS n, SUM(score) AS s, AVG(score) AS a FROM visits WHERE FALSE")
    partial = read_partial(partial_of(plan, write_block(tmp_path / "0.parquet", some_rows(30, 1))), plan)
    assert partial == {}
    tables = [release(combine([partial], plan), plan) for _ in range(20)]
    assert all(row[name]["value"] is not None for table in tables for row in table.rows for name in "nsa")
    assert len({table.rows[0]["s"]["value"] for table in tables}) > 1


def test_row_8_a_mean_over_a_small_filter_is_not_biased(tmp_path):
    rows = [some_rows(1, i)[0] | {"person": f"p{i}", "score": i % 20 - 7} for i in range(400)]
    plan = plan_of("SELECT AVG(score) AS a FROM visits WHERE age >= 0", groups=1, rows=1, epsilon="1")
    partial = read_partial(partial_of(plan, write_block(tmp_path / "0.parquet", rows)), plan)
    totals = combine([partial], plan)
    drawn = [release(totals, plan).rows[0]["a"]["value"] for _ in range(40)]
    mean = sum(drawn) / len(drawn)
    spread = (sum((x - mean) ** 2 for x in drawn) / (len(drawn) - 1)) ** 0.5
    assert abs(mean - 2.5) < 4 * spread / len(drawn) ** 0.5 + 0.02


def test_row_9_a_null_is_not_clamped_to_a_number_and_values_outside_are_clamped(tmp_path):
    """greatest(NULL, 0) is 0 in DuckDB: a mean over it would halve. NaN and inf cannot occur: no column is a float."""
    base = some_rows(1, 0)[0]
    rows = [base | {"person": f"p{i}", "score": value} for i, value in enumerate([5, None, 9, None])]
    assert answer(tmp_path, "SELECT AVG(score) AS a, COUNT(score) AS n FROM visits", rows)[0]["a"]["value"] == 7
    # Ingest would have refused these: the pass does not depend on it.
    rows = [base | {"person": f"p{i}", "score": value} for i, value in enumerate([2**62, -(2**62), 3, None])]
    assert answer(tmp_path, "SELECT SUM(score) AS s FROM visits", rows)[0]["s"]["value"] == 12 - 7 + 3
    assert all(column.type.value != "float" for column in SCHEMA.columns)


@pytest.mark.parametrize("cast", ["TRY_CAST(surname AS INT)", "CAST(surname AS INT)", "surname::INT", "NULLIF(age, 1)"])
def test_row_11_no_cast_makes_nulls_of_values(cast):
    assert refused(f"SELECT COUNT({cast}) FROM visits").code == "sql.not_allowed"
    plan = plan_of("SELECT COUNT(surname) FROM visits")
    assert plan.measures[0].noise.price > 0


def test_row_12_no_query_stands_between_the_bounds_and_the_final_grouping():
    inner = "(SELECT person, surname FROM visits)"
    for sql in (f"SELECT 0 AS g, COUNT(*) FROM {inner} GROUP BY 1", "SELECT 0 AS g, COUNT(*) FROM visits GROUP BY g"):
        assert refused(sql).code == "sql.not_allowed"


def test_row_12_bounds_hold_at_the_grouping_that_is_asked(tmp_path):
    rows = [some_rows(1, 0)[0] | {"person": "one", "surname": f"s{i}", "ward": "north"} for i in range(100)]
    found = answer(tmp_path, "SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward", rows, groups=3, rows=2)
    assert [row["n"]["value"] for row in found] == [2, 0, 0]


@pytest.mark.parametrize(
    "function",
    ["dense_rank() OVER (ORDER BY ward)", "row_number() OVER ()", "enum_code(ward)", "rank() OVER ()", "rowid"],
)
def test_row_13_nothing_counts_by_order_of_appearance(function):
    refused(f"SELECT {function}, COUNT(*) FROM visits GROUP BY 1")
    refused(f"SELECT COUNT(*) FROM visits WHERE {function} = 1")


def test_row_15_a_mean_over_an_empty_group_is_finite_and_arithmetic_on_counts_is_refused():
    plan = plan_of("SELECT ward, AVG(score) AS a FROM visits GROUP BY ward", epsilon="0.01", groups=1, rows=1)
    for _ in range(100):
        assert all(-7 <= row["a"]["value"] <= 12 for row in release(Totals({}), plan).rows)
    assert refused("SELECT 1.0 * COUNT(*) / 0 FROM visits").code == "sql.not_allowed"


def test_row_18_count_of_a_column_does_not_count_its_nulls(tmp_path):
    rows = [some_rows(1, 0)[0] | {"person": f"p{i}", "score": value} for i, value in enumerate([1, None])]
    row = answer(tmp_path, "SELECT COUNT(score) AS x, COUNT(*) AS n FROM visits", rows)[0]
    assert (row["x"]["value"], row["n"]["value"]) == (1, 2)


def test_row_20_released_numbers_lie_on_a_fixed_grid_and_betray_no_low_bits():
    plan = plan_of("SELECT COUNT(*) AS n, SUM(cost) AS s FROM visits", epsilon="0.1")
    for _ in range(50):
        row = release(Totals({b"": (1234, 56789)}), plan).rows[0]
        assert type(row["n"]["value"]) is int
        assert row["s"]["value"] == round(row["s"]["value"] * 100) / 100


@pytest.mark.parametrize(
    "condition",
    [
        "CASE WHEN person = 'p7' THEN error('hit') ELSE 1 END = 1",
        "1 // 0 = 1",
        "age * 9223372036854775807 > 0",
        "error('x') = 1",
        "CAST('x' AS INT) = 1",
        "born + to_years(age) > born",
    ],
)
def test_row_22_no_expression_can_fail_on_a_row(condition):
    assert refused(f"SELECT COUNT(*) FROM visits WHERE {condition}").code in {"sql.not_allowed", "sql.unit_column"}
