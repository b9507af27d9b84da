"""Whole queries: keys, grouping sets, aggregates, what is made of them, and the verdict on every query of TPC-H."""

from __future__ import annotations

from fractions import Fraction

import pytest

from core.errors import Invalid
from privacy.sql.aggregates import Aggregate
from privacy.sql.asked import Asked, Frame, Order, Window, WindowFunction
from privacy.sql.checked import checked
from privacy.sql.expressions import Call, ColumnRef, Literal
from tests.unit.clinic_catalogue import CLINIC, accepted, refusal
from tests.unit.tpch_catalogue import TPCH
from tests.unit.tpch_queries import QUERIES

VERDICTS = {
    2: "sql.no_private_table",
    3: "sql.names_units",
    10: "sql.names_units",
    11: "sql.no_private_table",
    15: "sql.not_allowed",
    16: "sql.no_private_table",
    17: "sql.not_local",
    18: "sql.names_units",
    20: "sql.not_local",
    22: "sql.not_local",
}


@pytest.mark.parametrize("number", QUERIES)
def test_the_verdict_on_tpch(number):
    if number not in VERDICTS:
        assert checked(QUERIES[number], TPCH).answer.outputs
        return
    with pytest.raises(Invalid) as caught:
        checked(QUERIES[number], TPCH)
    assert caught.value.code == VERDICTS[number]
    assert caught.value.where["line"] > 1
    assert caught.value.way_out


def test_twelve_run_and_ten_do_not():
    assert len(QUERIES) == 22
    assert len(VERDICTS) == 10


def asked(expression, rest="visits"):
    (found,) = accepted(f"SELECT {expression} AS a FROM {rest}").grouping.values
    return found


SCORE, COST, AGE, URGENT = ColumnRef(5), ColumnRef(6), ColumnRef(4), ColumnRef(7)
OLD = Call("gt", (AGE, Literal(30)))
AGGREGATES = [
    ("COUNT(*)", Asked(Aggregate.ROWS, None)),
    ("COUNT(score)", Asked(Aggregate.NONNULL, SCORE)),
    ("COUNT(DISTINCT patient)", Asked(Aggregate.UNITS, None)),
    ("COUNT(DISTINCT (visits.patient))", Asked(Aggregate.UNITS, None)),
    ("COUNT(DISTINCT score)", Asked(Aggregate.VALUES, SCORE)),
    ("SUM(score + 1)", Asked(Aggregate.SUM, Call("plus", (SCORE, Literal(1))))),
    ("AVG(cost)", Asked(Aggregate.AVG, COST)),
    ("VARIANCE(cost)", Asked(Aggregate.VAR_SAMP, COST)),
    ("VAR_SAMP(cost)", Asked(Aggregate.VAR_SAMP, COST)),
    ("VAR_POP(cost)", Asked(Aggregate.VAR_POP, COST)),
    ("STDDEV(cost)", Asked(Aggregate.STDDEV_SAMP, COST)),
    ("STDDEV_SAMP(cost)", Asked(Aggregate.STDDEV_SAMP, COST)),
    ("STDDEV_POP(cost)", Asked(Aggregate.STDDEV_POP, COST)),
    ("MEDIAN(cost)", Asked(Aggregate.QUANTILE, COST, None, Fraction(1, 2))),
    ("QUANTILE_CONT(cost, 0.9)", Asked(Aggregate.QUANTILE, COST, None, Fraction(9, 10))),
    ("QUANTILE(cost, 1)", Asked(Aggregate.QUANTILE, COST, None, Fraction(1))),
    ("PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY cost)", Asked(Aggregate.QUANTILE, COST, None, Fraction(1, 4))),
    ("MIN(cost)", Asked(Aggregate.QUANTILE, COST, None, Fraction(1, 200))),
    ("MAX(cost)", Asked(Aggregate.QUANTILE, COST, None, Fraction(199, 200))),
    ("COUNT(*) FILTER (WHERE age > 30)", Asked(Aggregate.ROWS, None, OLD)),
    ("SUM(cost) FILTER (WHERE age > 30)", Asked(Aggregate.SUM, COST, OLD)),
    ("COUNT(DISTINCT patient) FILTER (WHERE age > 30)", Asked(Aggregate.UNITS, None, OLD)),
    ("COUNT_IF(age > 30)", Asked(Aggregate.ROWS, None, OLD)),
    ("COUNT_IF(age > 30) FILTER (WHERE urgent)", Asked(Aggregate.ROWS, None, Call("and", (URGENT, OLD)))),
]


@pytest.mark.parametrize(("expression", "expected"), AGGREGATES)
def test_an_aggregate_is_asked_as(expression, expected):
    assert asked(expression) == expected


def test_an_aggregate_that_stands_twice_is_asked_once():
    found = accepted(
        "SELECT ward, COUNT(*) AS n, SUM(cost) / COUNT(*) AS m FROM visits GROUP BY ward HAVING COUNT(*) > 3 ORDER BY COUNT(*)"
    )
    assert [each.aggregate for each in found.grouping.values] == [Aggregate.ROWS, Aggregate.SUM]
    assert found.outputs[2].expression == Call("divide", (ColumnRef(2), ColumnRef(1)))
    assert found.having == Call("gt", (ColumnRef(1), Literal(3)))
    assert found.order == (Order(ColumnRef(1)),)


def test_the_places_of_the_aggregates_are_kept():
    sql = "SELECT ward,\n  COUNT(*), AVG(cost)\nFROM visits GROUP BY ward"
    found = checked(sql, CLINIC)
    assert [found.text.place(at)["line"] for at in found.places] == [2, 2]
    assert sql[found.places[1] :].startswith("AVG")


def test_names_are_given_where_none_is():
    sql = "SELECT ward, EXTRACT(year FROM seen), COUNT(*), COUNT(score), COUNT(DISTINCT patient), SUM(cost), SUM(cost + 1), MEDIAN(cost), MAX(cost), 1 + COUNT(*) FROM visits GROUP BY 1, 2"
    assert [output.name for output in accepted(sql).outputs] == [
        "ward",
        "key_2",
        "count",
        "count_score",
        "count_distinct_patient",
        "sum_cost",
        "sum_cost_2",
        "quantile_0_5_cost",
        "quantile_0_995_cost",
        "column_10",
    ]


def test_a_name_of_the_select_list_may_be_used_after_it():
    found = accepted("SELECT AGE AS a, a + 1 AS b, a, COUNT(*) FROM visits GROUP BY age")
    assert [output.name for output in found.outputs] == ["a", "b", "a_2", "count"]
    assert [output.name for output in accepted("SELECT WARD, SUM(AGE) FROM visits GROUP BY ward").outputs] == [
        "ward",
        "sum_age",
    ]


KEYS = [
    ("ward", "ward", ["ward"]),
    ("ward AS w", "w", ["w"]),
    ("ward AS w", "ward", ["ward"]),
    ("ward", "1", ["ward"]),
    ("v.ward", "ward", ["ward"]),
    ("LOWER(note) AS n", "n", ["n"]),
    ("LOWER(note)", "LOWER(note)", ["key_1"]),
    ("LOWER(note) AS n", "lower(note)", ["n"]),
    ("LOWER(note) || '!' AS n", "LOWER(note)", ["key_1"]),
    ("ward, age", "ward, age, 1", ["ward", "age"]),
]


@pytest.mark.parametrize(("items", "group", "names"), KEYS)
def test_keys_are_columns_expressions_aliases_and_numbers(items, group, names):
    found = accepted(f"SELECT {items}, COUNT(*) FROM visits v GROUP BY {group}")
    assert [key.name for key in found.grouping.keys] == names


SETS = [
    ("ROLLUP (ward, outcome)", ((0, 1), (0,), ())),
    ("CUBE (ward, outcome)", ((0, 1), (0,), (1,), ())),
    ("GROUPING SETS ((ward), (outcome), ())", ((0,), (1,), ())),
    ("GROUPING SETS ((ward, outcome), outcome)", ((0, 1), (1,))),
    ("ward, ROLLUP (outcome)", ((0, 1), (0,))),
    ("ROLLUP ((ward, outcome))", ((0, 1), ())),
    ("ROLLUP (ward), ROLLUP (outcome)", ((0, 1), (0,), (1,), ())),
    ("ward, outcome", ((0, 1),)),
]


@pytest.mark.parametrize(("group", "sets"), SETS)
def test_grouping_sets(group, sets):
    found = accepted(f"SELECT ward, outcome, COUNT(*) FROM visits GROUP BY {group}")
    assert found.grouping.sets == sets


def test_no_group_by_is_one_row():
    found = accepted("SELECT COUNT(*) FROM visits")
    assert (found.grouping.keys, found.grouping.sets) == ((), ((),))


def test_a_key_that_is_in_no_set_is_null_in_expressions():
    found = accepted("SELECT COALESCE(ward, 'all') AS w, COUNT(*) FROM visits GROUP BY ROLLUP (ward)")
    assert found.outputs[0].expression == Call("coalesce", (ColumnRef(0), Literal("all")))


def test_the_answer_is_sorted_filtered_and_cut():
    found = accepted(
        "SELECT EXTRACT(month FROM seen) AS m, COUNT(*) AS n FROM visits GROUP BY m"
        " HAVING n > 10 AND m <> 2 ORDER BY 2 DESC NULLS FIRST, m LIMIT 5 OFFSET 2"
    )
    assert found.having == Call(
        "and", (Call("gt", (ColumnRef(1), Literal(10))), Call("ne", (ColumnRef(0), Literal(2))))
    )
    assert found.order == (Order(ColumnRef(1), descending=True, nulls_first=True), Order(ColumnRef(0)))
    assert (found.limit, found.offset) == (5, 2)


def test_an_alias_sorts_before_a_column_and_filters_after_it():
    sql = "SELECT age, COUNT(*) AS score FROM visits GROUP BY age"
    assert accepted(f"{sql} ORDER BY score").order == (Order(ColumnRef(1)),)
    assert accepted(f"{sql} HAVING score > 3").having == Call("gt", (ColumnRef(1), Literal(3)))
    renamed = "SELECT age AS ward, ward AS age, COUNT(*) FROM visits GROUP BY visits.age, visits.ward"
    assert accepted(f"{renamed} ORDER BY ward").order == (Order(ColumnRef(0)),)
    assert accepted(f"{renamed} HAVING age > 3").having == Call("gt", (ColumnRef(0), Literal(3)))


def test_tips_say_what_is_not_as_it_seems():
    tips = checked("SELECT MIN(cost), MIN(cost) AS b FROM visits WHERE ward IN ('north', 'nirth')", CLINIC).tips
    assert len(tips) == 2
    assert "'nirth' is never there" in tips[0]
    assert "0.5 % quantile" in tips[1]


REFUSED = [
    ("SELECT ^NULL AS a, COUNT(*) FROM visits", "sql.type_mismatch", "NULL alone has no type", "such as 0"),
    ("SELECT COUNT(^NULL) FROM visits", "sql.type_mismatch", "NULL alone has no type", "such as 0"),
    ("SELECT x, COUNT(*) FROM (SELECT ^NULL AS x, age FROM visits) t GROUP BY x", "sql.type_mismatch", "NULL alone has no type", "such as 0"),
    ("SELECT COUNT(*) FROM (SELECT DISTINCT patient, ^NULL AS x FROM visits) t", "sql.type_mismatch", "NULL alone has no type", "such as 0"),
    ("SELECT COUNT(*) FROM visits WHERE age IN (SELECT ^NULL FROM wards)", "sql.type_mismatch", "NULL alone has no type", "such as 0"),
    ("SELECT COUNT(*) FROM visits WHERE (SELECT ^NULL FROM wards WHERE name = ward) IS NULL", "sql.type_mismatch", "NULL alone has no type", "such as 0"),
    ("SELECT COUNT(*) FROM ^wards", "sql.no_private_table", "public tables only", "downloaded"),
    ("WITH w AS (SELECT * FROM ^wards) SELECT beds, COUNT(*) FROM w GROUP BY beds", "sql.no_private_table", "public tables only", "downloaded"),
    ("SELECT COUNT(*) FROM ^(VALUES (1)) v(a)", "sql.no_private_table", "public tables only", "downloaded"),
    ("SELECT patient, COUNT(*) FROM visits GROUP BY ^patient", "sql.names_units", "GROUP BY patient", "many units share"),
    ("SELECT visit, COUNT(*) FROM visits GROUP BY ^visit", "sql.names_units", "GROUP BY visit", "many units share"),
    ("SELECT d.visit, d.line, COUNT(*) FROM drugs d GROUP BY ^1, 2", "sql.names_units", "", "many units share"),
    ("SELECT ward, patient AS p, COUNT(*) FROM visits GROUP BY ROLLUP (ward, ^p)", "sql.names_units", "", "many units share"),
    ("SELECT p, COUNT(*) FROM (SELECT patient AS p, age FROM visits) x GROUP BY ^p", "sql.names_units", "GROUP BY p", "many units share"),
    ("SELECT ^* FROM visits GROUP BY ward", "sql.not_allowed", "rows are never shown", "COUNT(*)"),
    ("SELECT ^visits.* FROM visits", "sql.not_allowed", "rows are never shown", "COUNT(*)"),
    ("SELECT ^ward FROM visits GROUP BY ward", "sql.not_allowed", "nothing is aggregated", "COUNT(*)"),
    ("SELECT ^1 FROM visits", "sql.not_allowed", "nothing is aggregated", "COUNT(*)"),
    ("SELECT ward, ^age + 1, COUNT(*) FROM visits GROUP BY ward", "sql.not_allowed", "neither grouped by nor aggregated", "GROUP BY age"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ward, ^outcome", "sql.not_allowed", "not selected", "SELECT outcome"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ward HAVING ^age > 3", "sql.not_allowed", "neither grouped", "COUNT(age)"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ward HAVING ^COUNT(*)", "sql.type_mismatch", "true or false", "x > 0"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ward ORDER BY ^age", "sql.not_allowed", "neither grouped", "COUNT(age)"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ward ORDER BY ^3", "sql.not_allowed", "no number 3", "by its name"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ^2", "sql.not_allowed", "no group key", "by its name"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ^3", "sql.not_allowed", "no number 3", "by its name"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ward, ^COUNT(*)", "sql.not_allowed", "no aggregate", "GROUP BY a column"),
    ("SELECT COUNT(*) FROM visits GROUP BY ^'x'", "sql.not_allowed", "always the same", "GROUP BY a column"),
    ("SELECT ^ward, COUNT(*) FROM visits GROUP BY ALL", "sql.not_allowed", "GROUP BY ALL", "by name"),
    ("SELECT COUNT(*) FROM visits GROUP BY visit, patient, ward, outcome, age, score, cost, urgent, ^seen", "sql.not_allowed", "more than 8", "fewer"),
    ("SELECT COUNT(*) AS n, ^SUM(score) AS N FROM visits", "sql.not_allowed", "two columns are called N", "AS"),
    ("SELECT DISTINCT ^ward FROM visits", "sql.not_allowed", "SELECT DISTINCT", "GROUP BY"),
    ("SELECT COUNT(*) FROM visits QUALIFY ^age > 3", "sql.not_allowed", "QUALIFY", "HAVING"),
    ("SELECT SUM(^score) OVER () FROM visits", "sql.not_allowed", "neither grouped", "COUNT(score)"),
    ("SELECT SUM(^COUNT(*)) FROM visits", "sql.not_allowed", "an aggregate is not accepted here", "HAVING"),
    ("SELECT COUNT(*) FROM visits WHERE ^COUNT(*) > 3", "sql.not_allowed", "an aggregate is not accepted here", "HAVING"),
    ("SELECT ^QUANTILE_CONT(cost, 2) FROM visits", "sql.not_allowed", "from 0 to 1", "0.9"),
    ("SELECT ^QUANTILE_CONT(cost, score) FROM visits", "sql.not_allowed", "from 0 to 1", "0.9"),
    ("SELECT ^QUANTILE_DISC(cost, 0.5) FROM visits", "sql.not_allowed", "PERCENTILE_DISC", "QUANTILE_CONT"),
    ("SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY ^cost DESC) FROM visits", "sql.not_allowed", "DESC", "QUANTILE_CONT"),
    ("SELECT ^MODE(age) FROM visits", "sql.not_allowed", "MODE", "COUNT, SUM"),
    ("SELECT ^ANY_VALUE(age) FROM visits", "sql.not_allowed", "ANY_VALUE", "COUNT, SUM"),
    ("SELECT ^LIST(age) FROM visits", "sql.not_allowed", "ARRAY_AGG", "COUNT, SUM"),
    ("SELECT ^STRING_AGG(note) FROM visits", "sql.not_allowed", "GROUP_CONCAT", "COUNT, SUM"),
    ("SELECT ^SUM(DISTINCT age) FROM visits", "sql.not_allowed", "DISTINCT", "SUM(x)"),
    ("SELECT COUNT(DISTINCT ^age, score) FROM visits", "sql.not_allowed", "one value", "COUNT(DISTINCT x)"),
    ("SELECT ^SUM(ward) FROM visits", "sql.type_mismatch", "SUM takes numbers", "COUNT(x)"),
    ("SELECT ^MAX(seen) FROM visits", "sql.type_mismatch", "MAX takes numbers", "GROUP BY"),
    ("SELECT SUM(score) FILTER (WHERE ^score) FROM visits", "sql.type_mismatch", "true or false", "x > 0"),
    ("SELECT COUNT(*) FROM visits LIMIT ^10%", "sql.not_allowed", "form of LIMIT", "LIMIT 10"),
    ("SELECT COUNT(*) FROM visits LIMIT ^age", "sql.not_allowed", "whole number", "LIMIT 10"),
    ("SELECT COUNT(*) FROM visits OFFSET ^'1'", "sql.not_allowed", "whole number", "OFFSET 10"),
    ("SELECT ward, ^COUNT(*) + ward FROM visits GROUP BY ward", "sql.type_mismatch", "takes numbers", "CAST"),
    ("SELECT COUNT(*) FROM visits ^UNION ALL SELECT COUNT(*) FROM visits", "sql.not_allowed", "one table", "FROM (SELECT"),
]  # fmt: skip

OVER = [
    ("SUM(^SUM(COUNT(*)) OVER ()) OVER ()", "sql.not_allowed", "OVER (…)", "sort or limit"),
    ("^NTILE(4) OVER (ORDER BY COUNT(*))", "sql.not_allowed", "NTILE", "ROW_NUMBER"),
    ("^FIRST_VALUE(COUNT(*)) OVER ()", "sql.not_allowed", "FIRST_VALUE", "ROW_NUMBER"),
    ("^SUM(COUNT(*)) OVER (ORDER BY ward RANGE BETWEEN 1 PRECEDING AND CURRENT ROW)", "sql.not_allowed", "RANGE", "ROWS BETWEEN"),
    ("^SUM(COUNT(*)) OVER (ORDER BY ward GROUPS 1 PRECEDING)", "sql.not_allowed", "GROUPS", "ROWS BETWEEN"),
    ("^SUM(COUNT(*)) OVER (ORDER BY ward ROWS BETWEEN UNBOUNDED FOLLOWING AND CURRENT ROW)", "sql.not_allowed", "ends before", "ROWS BETWEEN"),
    ("^SUM(COUNT(*)) OVER (ORDER BY ward ROWS age PRECEDING)", "sql.not_allowed", "number of rows", "ROWS 2 PRECEDING"),
    ("^RANK() OVER (ORDER BY ward ROWS 1 PRECEDING)", "sql.not_allowed", "no frame", "ROWS BETWEEN"),
    ("LAG(COUNT(*), 1, ^0) OVER (ORDER BY ward)", "sql.not_allowed", "LAG with DEFAULT", "COALESCE(LAG(x)"),
    ("^LAG(COUNT(*), -1) OVER (ORDER BY ward)", "sql.not_allowed", "number of rows", "LAG(x, 2)"),
    ("^LAG(COUNT(*)) IGNORE NULLS OVER (ORDER BY ward)", "sql.not_allowed", "IGNORENULLS", "ROW_NUMBER"),
    ("^SUM(COUNT(*)) FILTER (WHERE TRUE) OVER ()", "sql.not_allowed", "FILTER", "ROW_NUMBER"),
    ("^SUM(DISTINCT COUNT(*)) OVER ()", "sql.not_allowed", "without DISTINCT", "SUM(x)"),
    ("^SUM(ward) OVER ()", "sql.type_mismatch", "adds numbers", "COUNT"),
    ("RANK() OVER (ORDER BY ^age)", "sql.not_allowed", "neither grouped", "GROUP BY age"),
    ("RANK() OVER ^w", "sql.not_allowed", "form of OVER", "ORDER BY x"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "reason", "way_out"), OVER)
def test_a_window_is_refused_where_it_stands(words, code, reason, way_out):
    found = refusal(f"SELECT ward, COUNT(*), {words} FROM visits GROUP BY ward")
    assert found.code == code
    assert reason in found.text
    assert way_out in found.way_out


def test_windows_stand_after_keys_and_values():
    found = accepted(
        "SELECT ward, RANK() OVER (PARTITION BY ward ORDER BY COUNT(*) DESC) AS r, LAG(SUM(age), 2) OVER (ORDER BY ward)"
        " FROM visits GROUP BY ward ORDER BY r, SUM(SUM(age)) OVER (ORDER BY ward ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING)"
    )
    assert found.windows == (
        Window(WindowFunction.RANK, None, (ColumnRef(0),), (Order(ColumnRef(1), descending=True),)),
        Window(WindowFunction.LAG, ColumnRef(2), (), (Order(ColumnRef(0)),), None, 2),
        Window(WindowFunction.SUM, ColumnRef(2), (), (Order(ColumnRef(0)),), Frame(1, 2)),
    )
    assert [output.expression for output in found.outputs] == [ColumnRef(0), ColumnRef(3), ColumnRef(4)]
    assert found.order == (Order(ColumnRef(3)), Order(ColumnRef(5)))
    assert [output.name for output in found.outputs] == ["ward", "r", "lag"]


def test_a_window_is_worked_out_last():
    sql = "SELECT ward, RANK() OVER (ORDER BY COUNT(*)) AS r FROM visits GROUP BY ward HAVING ^r < 3"
    assert "worked out last" in refusal(sql).text


@pytest.mark.parametrize(("sql", "code", "reason", "way_out"), REFUSED)
def test_it_is_refused_where_it_stands(sql, code, reason, way_out):
    found = refusal(sql)
    assert found.code == code
    assert reason in found.text
    assert way_out in found.way_out


def test_there_are_limits():
    for sql, words in (
        (f"SELECT {', '.join(f'SUM(age + {at}) AS s{at}' for at in range(65))} FROM visits", "64 columns"),
        (
            f"SELECT COUNT(*) FROM visits HAVING {' AND '.join(f'SUM(age + {at}) > 0' for at in range(65))}",
            "64 aggregates",
        ),
        (f"SELECT COUNT(*) AS n FROM visits ORDER BY {', '.join('n' for _ in range(65))}", "64 terms"),
        ("SELECT COUNT(*) FROM visits GROUP BY CUBE (ward, outcome, age, score, cost)", "16 grouping sets"),
        (f"SELECT COUNT(*) AS {'n' * 65} FROM visits", "64 visible"),
    ):
        with pytest.raises(Invalid) as caught:
            accepted(sql)
        assert words in caught.value.text
