"""Which subqueries are accepted, as what, and which are refused because a row would depend on other units' rows."""

from __future__ import annotations

import pytest

from privacy.sql.aggregates import Inner
from privacy.sql.algebra import Filter, Lookup, Scan, Summary
from privacy.sql.conjuncts import conjuncts
from privacy.sql.expressions import Call, ColumnRef, Literal
from tests.unit.clinic_catalogue import accepted, refusal
from tests.unit.tpch_catalogue import TPCH
from tests.unit.tpch_queries import QUERIES


def looked_up(sql, catalogue=None):
    """What the subqueries of a query have become, the last one first."""
    source = (accepted(sql) if catalogue is None else accepted(sql, catalogue)).grouping.source
    found = []
    while not isinstance(source, Scan):
        if isinstance(source, Lookup):
            found.append(source)
        source = source.source
    return found


def test_exists_is_one_summary_by_the_key():
    (lookup,) = looked_up(
        "SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit AND doses > 2)"
    )
    assert (lookup.keeps, lookup.local) == (True, True)
    assert lookup.on == ((ColumnRef(1), ColumnRef(1)),)
    assert lookup.other.values == ((Inner.ROWS, None),)
    assert isinstance(lookup.other.source, Filter)


def test_exists_on_the_unit_is_one_row_for_each_unit():
    (lookup,) = looked_up("SELECT COUNT(*) FROM visits WHERE EXISTS (SELECT * FROM people WHERE person = patient)")
    assert (lookup.on, lookup.other.by, lookup.local) == ((), (), True)


@pytest.mark.parametrize(
    ("sign", "inner", "tests"),
    [
        ("<>", (Inner.MIN, Inner.MAX), ("ne", "ne")),
        ("<", (Inner.MIN,), ("lt",)),
        ("<=", (Inner.MIN,), ("le",)),
        (">", (Inner.MAX,), ("gt",)),
        (">=", (Inner.MAX,), ("ge",)),
    ],
)
def test_one_comparison_needs_no_pairs_of_rows(sign, inner, tests):
    sql = f"SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit AND doses {sign} score)"
    source = accepted(sql).grouping.source
    summary = source.source.other
    assert tuple(kind for kind, _ in summary.values) == inner
    assert source.condition.function == "coalesce"
    assert source.condition.args[1] == Literal(False)
    some = source.condition.args[0]
    found = some.args if some.function == "or" else (some,)
    assert tuple(each.function for each in found) == tests


def test_a_comparison_is_turned_so_that_the_subquery_is_first():
    sql = "SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit AND score < doses)"
    source = accepted(sql).grouping.source
    assert source.condition.args[0].function == "gt"
    assert source.source.other.values[0][0] is Inner.MAX


def test_a_count_of_nothing_is_nought_and_any_other_aggregate_is_not():
    source = accepted(
        "SELECT COUNT(*) FROM visits v WHERE (SELECT COUNT(*) + SUM(doses) FROM drugs d WHERE d.visit = v.visit) > 3"
    ).grouping.source
    plus = source.condition.args[0]
    assert plus.args[0] == Call("coalesce", (ColumnRef(12), Literal(0)))
    assert plus.args[1] == ColumnRef(13)


def test_an_uncorrelated_value_of_public_tables_is_looked_up_by_nothing():
    (lookup,) = looked_up("SELECT COUNT(*) FROM visits WHERE age > (SELECT AVG(beds) FROM wards)")
    assert lookup.on == ((Literal(1), ColumnRef(0)),)
    assert (lookup.keeps, lookup.local) == (True, False)


def test_a_value_of_a_declared_key_needs_no_aggregate():
    (lookup,) = looked_up("SELECT COUNT(*) FROM visits WHERE age > (SELECT beds FROM wards WHERE name = ward)")
    assert not isinstance(lookup.other, Summary)


def test_in_is_exists_with_an_equality():
    first, second = (
        looked_up(f"SELECT COUNT(*) FROM visits v WHERE {words}")[0]
        for words in (
            "visit IN (SELECT visit FROM drugs WHERE doses > 2)",
            "EXISTS (SELECT * FROM drugs d WHERE doses > 2 AND d.visit = v.visit)",
        )
    )
    assert (first.on, first.other.by, first.other.values) == (second.on, second.other.by, second.other.values)


def test_tpch_4_21_and_the_not_exists_of_22_are_accepted():
    assert len(looked_up(QUERIES[4], TPCH)) == 1
    found = looked_up(QUERIES[21], TPCH)
    assert [kind for kind, _ in found[0].other.values] == [Inner.MIN, Inner.MAX]
    assert [isinstance(each.other, Summary) for each in found] == [True, True, False, False, False]
    alone = "SELECT COUNT(*) FROM customer WHERE NOT EXISTS (SELECT * FROM orders WHERE o_custkey = c_custkey)"
    assert len(looked_up(alone, TPCH)) == 1


REFUSED = [
    ("EXISTS (SELECT ^* FROM drugs d WHERE d.drug = v.note)", "sql.not_local", "not compared on the protected unit", "equality of its unit"),
    ("EXISTS (SELECT ^* FROM drugs d)", "sql.not_local", "rows of all protected units", "write it as a number"),
    ("EXISTS (SELECT ^* FROM drugs d WHERE d.visit > v.visit)", "sql.not_local", "rows of all protected units", "compare its unit"),
    ("EXISTS (SELECT ^* FROM drugs d WHERE d.line = v.visit)", "sql.not_local", "not compared on the protected unit", "a key that determines it"),
    ("age > (SELECT ^AVG(age) FROM visits)", "sql.not_local", "rows of all protected units", "write it as a number"),
    ("age > (SELECT ^AVG(age) FROM visits u WHERE u.ward = v.ward)", "sql.not_local", "not compared on the protected unit", "equality"),
    ("note IN (SELECT ^drug FROM drugs)", "sql.not_local", "not compared on the protected unit", "equality"),
    ("note IN (SELECT drug FROM drugs GROUP BY ^drug)", "sql.not_local", "several protected units", "its unit too"),
    ("EXISTS (SELECT ^* FROM wards w WHERE name = ward AND beds > age AND beds < score)", "sql.not_allowed", "more than one comparison", "keep one"),
    ("EXISTS (SELECT * FROM wards w WHERE ^name = ward OR age > 3)", "sql.not_allowed", "reads both queries", "by ="),
    ("EXISTS (SELECT * FROM wards w WHERE ^beds + age > 3)", "sql.not_allowed", "reads both queries", "by ="),
    ("EXISTS (SELECT ^COUNT(*) FROM wards w WHERE name = ward)", "sql.not_allowed", "EXISTS over groups", "IN (SELECT"),
    ("EXISTS (SELECT ^beds FROM wards GROUP BY beds)", "sql.not_allowed", "EXISTS over groups", "IN (SELECT"),
    ("EXISTS (SELECT ^name FROM wards UNION ALL SELECT name FROM wards)", "sql.not_allowed", "one SELECT", "EXISTS (SELECT"),
    ("EXISTS (SELECT * FROM wards WHERE name = ward LIMIT ^1)", "sql.not_allowed", "part of a subquery", "WHERE"),
    ("EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit AND EXISTS (SELECT * FROM people WHERE ^person = patient))", "sql.not_allowed", "reads both", "by ="),
    ("^score NOT IN (SELECT beds FROM wards)", "sql.not_allowed", "neither true nor false", "NOT EXISTS"),
    ("visit IN ((SELECT visit FROM drugs) LIMIT ^1)", "sql.not_allowed", "LIMIT", ""),
    ("(^visit, age) IN (SELECT visit, doses FROM drugs)", "sql.not_allowed", "one value", "EXISTS"),
    ("visit IN (SELECT ^visit, doses FROM drugs)", "sql.not_allowed", "one column", "SELECT one column"),
    ("visit IN (SELECT ^v.age FROM drugs)", "sql.not_allowed", "its own tables", "EXISTS"),
    ("visit = ANY (SELECT ^visit FROM drugs)", "sql.not_allowed", "form of subquery", "IN (SELECT"),
    ("visit > ALL (SELECT ^visit FROM drugs)", "sql.not_allowed", "form of subquery", "IN (SELECT"),
    ("^patient IN (SELECT name FROM wards)", "sql.unit_column", "patient names the unit", "COUNT(DISTINCT patient)"),
    ("note IN (SELECT ^person FROM people)", "sql.unit_column", "person names the unit", "COUNT(DISTINCT person)"),
    ("^age IN (SELECT name FROM wards)", "sql.type_mismatch", "does not go with", "CAST"),
    ("age > (SELECT ^beds FROM wards w WHERE w.town = v.note)", "sql.join", "several rows", "MAX(x)"),
    ("age > (SELECT ^beds FROM wards)", "sql.join", "several rows", "MAX(x)"),
    ("age > (SELECT ^beds, name FROM wards)", "sql.not_allowed", "one column", "SELECT one column"),
    ("age > (SELECT MAX(^beds) FROM wards GROUP BY town)", "sql.not_allowed", "not groups", "WHERE"),
    ("age > (SELECT MAX(^beds) FROM wards WHERE beds > v.age)", "sql.not_allowed", "by = only", "by ="),
    ("age > (SELECT ^SUM(drug) FROM drugs d WHERE d.visit = v.visit)", "sql.type_mismatch", "adds numbers", "COUNT"),
    ("age > (SELECT ^MEDIAN(beds) FROM wards)", "sql.not_allowed", "MEDIAN", "COUNT, SUM"),
]  # fmt: skip
OUTSIDE = [
    ("SELECT AVG((SELECT ^weight FROM people WHERE person = patient)) FROM visits", "sql.not_allowed", "subquery is not accepted here", "WHERE"),
    ("SELECT ward, COUNT(*) FROM visits GROUP BY ward HAVING COUNT(*) > (SELECT MAX(^beds) FROM wards)", "sql.not_allowed", "subquery is not accepted here", "WHERE"),
    ("SELECT COUNT(*) FROM visits WHERE age > (WITH w AS (SELECT MAX(^age) AS a FROM visits) SELECT MAX(a) FROM w)", "sql.not_local", "several protected units", "its unit too"),
    ("SELECT COUNT(*) FROM wards WHERE EXISTS (SELECT ^* FROM visits WHERE ward = name)", "sql.not_local", "public table would be chosen by private rows", "begin with the private"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "reason", "way_out"), REFUSED)
def test_it_is_refused_where_it_stands(words, code, reason, way_out):
    check(f"SELECT COUNT(*) FROM visits v\nWHERE {words}", code, reason, way_out)


@pytest.mark.parametrize(("sql", "code", "reason", "way_out"), OUTSIDE)
def test_it_is_refused_elsewhere(sql, code, reason, way_out):
    check(sql, code, reason, way_out)


def check(sql, code, reason, way_out):
    found = refusal(sql)
    assert found.code == code
    assert reason in found.text
    assert way_out in found.way_out


@pytest.mark.parametrize("number", [17, 20, 22])
def test_tpch_17_20_and_22_compare_rows_with_other_peoples(number):
    with pytest.raises(Exception, match=r"units|private") as caught:
        accepted(QUERIES[number], TPCH)
    assert caught.value.code == "sql.not_local"


def test_in_may_stand_where_null_and_false_are_one():
    for words in ("score IN (SELECT beds FROM wards)", "(urgent OR score IN (SELECT beds FROM wards)) AND age > 3"):
        assert conjuncts(accepted(f"SELECT COUNT(*) FROM visits WHERE {words}").grouping.source.condition)
    for words in ("NOT ^score IN (SELECT beds FROM wards)", "(^score IN (SELECT beds FROM wards)) IS NULL"):
        assert refusal(f"SELECT COUNT(*) FROM visits WHERE {words}").code == "sql.not_allowed"
