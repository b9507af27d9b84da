"""What may stand in FROM: tables, derived tables, WITH, UNION ALL, VALUES; each other thing is refused where it stands, with a way out."""

from __future__ import annotations

import pytest

from privacy.sql.algebra import UNIT, Constant, Filter, Lookup, Project, Scan, Stacked, Summary
from privacy.sql.names_in_scope import Catalogue, Table
from privacy.sql.relation_graph import relations_in, written_out
from tests.unit.clinic_catalogue import CLINIC, VISITS, accepted, refusal


def source(sql: str):
    return accepted(sql).grouping.source


REFUSED = [
    ("SELECT COUNT(*) FROM (^visits)", "sql.not_allowed", "brackets in FROM", "leave the brackets out"),
    ("SELECT COUNT(*) FROM people JOIN (^visits v JOIN drugs d ON v.visit = d.visit) ON person = patient", "sql.not_allowed", "brackets in FROM", "leave the brackets out"),
    ("SELECT COUNT(*) FROM visits PIVOT (^COUNT(*) FOR ward IN ('north'))", "sql.not_allowed", "plain name", "FROM people"),
    ("SELECT COUNT(*) FROM visits USING SAMPLE ^10%", "sql.not_allowed", "SAMPLE", "whole table"),
    ("SELECT ^COUNT(*)", "sql.not_allowed", "names no table", "FROM people"),
    ("SELECT COUNT(*) FROM ^nothing", "sql.unknown_table", "no table nothing", "the tables are people"),
    ("SELECT COUNT(*) FROM ^visit", "sql.unknown_table", "no table visit", "did you mean visits?"),
    ("SELECT COUNT(*) FROM ^clinic.visits", "sql.not_allowed", "plain name", "FROM people"),
    ("SELECT COUNT(*) FROM ^read_csv('/etc/passwd')", "sql.not_allowed", "function in FROM", "the tables are"),
    ("SELECT COUNT(*) FROM ^range(10)", "sql.not_allowed", "function in FROM", "the tables are"),
    ("SELECT COUNT(*) FROM ^'x.parquet'", "sql.unknown_table", "no table x.parquet", "the tables are"),
    ("SELECT COUNT(*) FROM visits TABLESAMPLE ^10%", "sql.not_allowed", "plain name", "FROM people"),
    ("SELECT COUNT(*) FROM visits, LATERAL (SELECT ^1) x", "sql.not_allowed", "LATERAL", "the tables are"),
    ("SELECT COUNT(*) FROM visits, ^visits", "sql.not_allowed", "two tables are called visits", "another name"),
    ("SELECT COUNT(*) FROM visits v(a, b, c, d, e, f, g, h, i, j, k, ^l)", "sql.not_allowed", "12 names", "as many names"),
    ("SELECT COUNT(*) FROM visits AS ^v(a, a)", "sql.not_allowed", "two columns are called a", "rename"),
    ("SELECT COUNT(*) FROM visits JOIN (VALUES (1, 2), (^3)) v(a, b) ON age = a", "sql.not_allowed", "lengths", "(1, 'a')"),
    ("SELECT COUNT(*) FROM visits JOIN (VALUES (1 + ^age)) v(a) ON age = a", "sql.not_allowed", "cannot stand", "literal"),
    ("SELECT COUNT(*) FROM visits JOIN (VALUES (^1), ('b')) v(a) ON age = a", "sql.type_mismatch", "", "one type"),
    ("WITH RECURSIVE ^w AS (SELECT name FROM wards) SELECT COUNT(*) FROM visits", "sql.not_allowed", "RECURSIVE", "WITH"),
    ("WITH ^w AS (SELECT name FROM wards), w AS (SELECT name FROM wards) SELECT COUNT(*) FROM visits", "sql.not_allowed", "two queries are called w", "rename"),
    ("SELECT COUNT(*) FROM (SELECT ^visit FROM visits UNION SELECT visit FROM drugs) x", "sql.not_allowed", "drops rows", "UNION ALL"),
    ("SELECT COUNT(*) FROM (SELECT ward FROM visits UNION ALL SELECT ^name FROM wards) x", "sql.not_local", "no protected unit", "one population"),
    ("SELECT COUNT(*) FROM (SELECT visit, ward FROM visits UNION ALL SELECT ^visit FROM drugs) x", "sql.not_allowed", "different numbers", "same columns"),
    ("SELECT COUNT(*) FROM (SELECT ward FROM visits UNION ALL SELECT ^visit FROM drugs) x", "sql.type_mismatch", "ward", "CAST"),
    ("SELECT COUNT(*) FROM (SELECT cost FROM visits UNION ALL SELECT ^doses FROM drugs) x", "sql.type_mismatch", "cost", "CAST"),
    ("SELECT COUNT(*) FROM (SELECT patient FROM visits UNION ALL SELECT ^drug FROM drugs) x", "sql.type_mismatch", "patient", "CAST"),
    ("SELECT COUNT(*) FROM (SELECT * FROM visits ORDER BY ^age) x", "sql.not_allowed", "ORDER BY inside", "sort the answer"),
    ("SELECT COUNT(*) FROM (SELECT * FROM visits LIMIT ^3) x", "sql.not_allowed", "LIMIT inside", "limit the answer"),
    ("SELECT COUNT(*) FROM (SELECT * FROM visits OFFSET ^3) x", "sql.not_allowed", "OFFSET inside", "limit the answer"),
    ("SELECT COUNT(*) FROM (SELECT * FROM visits QUALIFY ^age > 3) x", "sql.not_allowed", "QUALIFY inside", "HAVING"),
    ("SELECT COUNT(*) FROM (SELECT ^SUM(age) OVER () FROM visits) x", "sql.not_allowed", "OVER", "aggregates"),
    ("SELECT COUNT(*) FROM (SELECT * EXCLUDE (^age) FROM visits) x", "sql.not_allowed", "STAR with EXCEPT", "name the columns"),
    ("SELECT COUNT(*) FROM (SELECT ^age, score AS AGE FROM visits) x", "sql.not_allowed", "two columns are called AGE", "rename"),
    ("SELECT n, COUNT(*) FROM (SELECT ward, COUNT(*) AS n FROM visits GROUP BY ^ward) x GROUP BY n", "sql.not_local", "several protected units", "its unit too"),
    ("SELECT n, COUNT(*) FROM (SELECT ^COUNT(*) AS n FROM visits) x GROUP BY n", "sql.not_local", "several protected units", "its unit too"),
    ("SELECT COUNT(*) FROM (SELECT DISTINCT ^ward FROM visits) x", "sql.not_local", "several protected units", "its unit too"),
    ("SELECT COUNT(*) FROM (SELECT DISTINCT ON (^patient) patient, ward FROM visits) x", "sql.not_allowed", "DISTINCT ON", "GROUP BY"),
    ("SELECT COUNT(*) FROM (SELECT patient, ^ward, COUNT(*) FROM visits GROUP BY patient) x", "sql.not_allowed", "neither grouped", "GROUP BY ward"),
    ("SELECT COUNT(*) FROM (SELECT ^*, COUNT(*) FROM people GROUP BY person) x", "sql.not_allowed", "neither grouped", "*"),
    ("SELECT COUNT(*) FROM (SELECT patient, ward FROM visits GROUP BY ROLLUP (^patient, ward)) x", "sql.not_allowed", "grouping sets inside", "by name"),
    ("SELECT COUNT(*) FROM (SELECT patient, ^MEDIAN(age) FROM visits GROUP BY patient) x", "sql.not_allowed", "MEDIAN", "COUNT, SUM"),
    ("SELECT COUNT(*) FROM (SELECT patient, ^COUNT(*) FILTER (WHERE urgent) FROM visits GROUP BY patient) x", "sql.not_allowed", "inside a unit", "CASE"),
    ("SELECT COUNT(*) FROM (SELECT patient, ^SUM(ward) FROM visits GROUP BY patient) x", "sql.type_mismatch", "adds numbers", "COUNT"),
    ("SELECT COUNT(*) FROM (^VALUES (1)) x", "sql.no_private_table", "", "public"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "code", "reason", "way_out"), REFUSED[:-1])
def test_it_is_refused_where_it_stands(sql, code, reason, way_out):
    found = refusal(sql)
    assert found.code == code
    assert reason in found.text
    assert way_out in found.way_out


def test_a_name_means_a_table_of_the_catalogue_or_its_full_name():
    assert source("SELECT COUNT(*) FROM VISITS").asset == "clinic/visits"
    assert source('SELECT COUNT(*) FROM "clinic/visits"').asset == "clinic/visits"


def test_two_tables_of_one_name_are_told_apart_by_their_full_names():
    both = Catalogue((*CLINIC.tables, Table("other/visits", VISITS, private=True)))
    assert refusal("SELECT COUNT(*) FROM ^visits", both).code == "sql.unknown_table"
    assert accepted('SELECT COUNT(*) FROM "other/visits"', both).grouping.source.asset == "other/visits"


def test_a_table_is_read_once_however_often_it_is_named():
    found = source("SELECT COUNT(*) FROM visits a JOIN visits b ON a.visit = b.visit")
    assert found.source is found.other
    assert sum(isinstance(each, Scan) for each in relations_in(found)) == 1


def test_what_with_names_is_one_relation():
    found = source(
        "WITH w AS (SELECT name, beds FROM wards) SELECT COUNT(*) FROM visits JOIN w a ON ward = a.name JOIN w b ON b.name = a.name"
    )
    assert [type(each) for each in relations_in(found)].count(Project) == 1


def test_with_hides_a_table_and_sees_what_was_named_before():
    found = source(
        "WITH visits AS (SELECT * FROM visits WHERE age > 1), b AS (SELECT * FROM visits) SELECT COUNT(*) FROM b"
    )
    assert [type(each) for each in relations_in(found)] == [Scan, Filter, Project, Project]


def test_the_unit_stays_in_front_whatever_it_is_called():
    found = source("SELECT COUNT(DISTINCT who) FROM (SELECT ward, patient AS who, age FROM visits) x(w, who)")
    assert isinstance(found, Project)
    assert [field.name for field in found.columns] == ["patient", "ward", "age"]
    assert source("SELECT COUNT(*) FROM (SELECT ward FROM visits) x").columns[UNIT].name == "patient"


def test_a_summary_for_each_unit_is_unique_by_it():
    found = source("SELECT n, COUNT(*) FROM (SELECT patient, COUNT(*) AS n FROM visits GROUP BY patient) x GROUP BY n")
    assert frozenset({UNIT}) in found.unique
    assert isinstance(found.source, Summary)
    by_ward = source("SELECT COUNT(*) FROM (SELECT DISTINCT patient, ward FROM visits) x")
    assert frozenset({UNIT, 1}) in by_ward.unique


def test_a_key_that_determines_the_unit_groups_unit_by_unit():
    found = source("SELECT n, COUNT(*) FROM (SELECT visit, SUM(doses) AS n FROM drugs GROUP BY visit) x GROUP BY n")
    assert isinstance(found.source, Summary)
    assert found.source.private


def test_union_all_lays_columns_in_the_order_of_the_first():
    found = source("SELECT SUM(n) FROM (SELECT visit, age AS n FROM visits UNION ALL SELECT visit, doses FROM drugs) x")
    assert isinstance(found, Stacked)
    assert [field.name for field in found.columns] == ["patient", "visit", "n"]
    assert (found.columns[2].facts.low, found.columns[2].facts.high) == (0, 110)


def test_values_are_unique_where_they_are():
    found = source("SELECT COUNT(*) FROM visits JOIN (VALUES ('north', 1), ('south', 1)) v(a, b) ON ward = a")
    assert isinstance(found, Lookup)
    assert isinstance(found.other, Constant)
    assert frozenset({1}) not in found.other.unique
    assert (
        refusal("SELECT COUNT(*) FROM visits JOIN (VALUES (^'north', 1), ('south', 1)) v(a, b) ON age = b").code
        == "sql.join"
    )


def test_rows_and_parts_do_not_grow_with_repetition():
    union = "WITH w0 AS (SELECT * FROM visits), " + ", ".join(
        f"w{at} AS (SELECT * FROM w{at - 1} UNION ALL SELECT * FROM w{at - 1})" for at in range(1, 60)
    )
    with pytest.raises(Exception, match="times the rows") as caught:
        accepted(f"{union} SELECT COUNT(*) FROM w59")
    assert caught.value.code == "sql.too_wide"
    joins = "WITH w0 AS (SELECT name, beds FROM wards), " + ", ".join(
        f"w{at} AS (SELECT a.name, b.beds FROM w{at - 1} a JOIN w{at - 1} b ON a.name = b.name)" for at in range(1, 60)
    )
    with pytest.raises(Exception, match="written out") as caught:
        accepted(f"{joins} SELECT COUNT(*) FROM visits JOIN w59 ON name = ward")
    assert caught.value.code == "sql.too_wide"


def test_what_is_written_out_is_counted():
    assert (
        written_out(source("SELECT COUNT(*) FROM visits a JOIN visits b ON a.visit = b.visit WHERE a.age > b.score"))
        == 4
    )
