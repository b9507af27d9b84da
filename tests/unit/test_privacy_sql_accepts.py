"""What the language accepts, and that the text which names a query and the text which runs are made from our own tree."""

from __future__ import annotations

import duckdb
import pytest

from privacy.sql.emit import canonical_sql
from privacy.sql.parse_check import parse_check
from tests.unit.sql_world import SCHEMA, plan_of, some_rows, write_block


def canonical(sql: str) -> str:
    return canonical_sql(parse_check(sql, SCHEMA))


def where_of(condition: str) -> str:
    return canonical(f"SELECT COUNT(*) FROM visits WHERE {condition}").partition(" WHERE ")[2]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("COUNT(*)", 'COUNT(*) AS "count"'),
        ("count( * ) AS n", 'COUNT(*) AS "n"'),
        ("COUNT(score)", 'COUNT("score") AS "count_score"'),
        ("COUNT(ALL score)", 'COUNT("score") AS "count_score"'),
        ("COUNT(DISTINCT person)", 'COUNT(DISTINCT unit) AS "count_distinct_person"'),
        ("count(distinct (PERSON)) people", 'COUNT(DISTINCT unit) AS "people"'),
        ("SUM(visits.cost)", 'SUM("cost") AS "sum_cost"'),
        ('AVG("Score") AS "mittlerer Wert"', 'AVG("score") AS "mittlerer Wert"'),
        ('SUM(score) AS "x""; DROP TABLE visits; --"', 'SUM("score") AS "x""; DROP TABLE visits; --"'),
        ("COUNT(*) AS 航班", 'COUNT(*) AS "航班"'),
    ],
)
def test_every_aggregate_has_one_spelling(select, expected):
    assert canonical(f"SELECT {select} FROM visits") == f'SELECT {expected} FROM "visits"'


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ward, COUNT(*) FROM visits GROUP BY ward",
        "select WARD, count(*) from VISITS group by 1;",
        'SELECT ("ward"), COUNT(*) -- a remark\nFROM "visits" /* another /* one */ */ GROUP BY (ward)',
        "SELECT v.ward, COUNT(*) FROM visits v GROUP BY v.ward, 1",
    ],
)
def test_the_same_question_has_the_same_canonical_text(text):
    assert canonical(text) == 'SELECT "ward" AS "ward", COUNT(*) AS "count" FROM "visits" GROUP BY "ward"'


def test_a_key_may_be_renamed_and_grouped_by_its_new_name():
    text = canonical("SELECT ward AS w, outcome o, COUNT(*) FROM visits GROUP BY w, o")
    assert text.endswith('GROUP BY "ward", "outcome"')


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("age = 30", '"age" = 30'),
        ("30 < age", '"age" > 30'),
        ("30 >= age", '"age" <= 30'),
        ("age == 30.0", '"age" = 30'),
        ("age <> -3", '"age" <> -3'),
        ("age != 3e1", '"age" <> 30'),
        ("cost > 1.50", '"cost" > 1.5'),
        ("cost > -0", '"cost" > 0'),
        ("cost <= 2", '"cost" <= 2'),
        ("age BETWEEN 1 AND 3", '("age" >= 1) AND ("age" <= 3)'),
        ("age NOT BETWEEN 1 AND 3", 'NOT (("age" >= 1) AND ("age" <= 3))'),
        ("age IN (3, 1, 3, 2)", '"age" IN (1, 2, 3)'),
        ("cost IN (1.5, 1.50)", '"cost" IN (1.5)'),
        ("surname NOT IN ('b', 'a')", "NOT (\"surname\" IN ('a', 'b'))"),
        ("surname >= 'Wáng'", "\"surname\" >= 'Wáng'"),
        ("surname = 'O''Neil'", "\"surname\" = 'O''Neil'"),
        ("ward = 'it''s'", "\"ward\" = 'it''s'"),
        ("outcome IS NULL", '"outcome" IS NULL'),
        ("outcome IS NOT NULL", 'NOT ("outcome" IS NULL)'),
        ("NOT outcome IS NULL", 'NOT ("outcome" IS NULL)'),
        ("urgent", '"urgent" = TRUE'),
        ("NOT urgent OR urgent = false", '(NOT ("urgent" = TRUE)) OR ("urgent" = FALSE)'),
        ("TRUE", "TRUE"),
        ("false", "FALSE"),
        ("seen >= DATE '2020-02-29'", "\"seen\" >= DATE '2020-02-29'"),
        ("seen < '2020-03-01'", "\"seen\" < DATE '2020-03-01'"),
        ("seen = CAST('2020-03-01' AS DATE)", "\"seen\" = DATE '2020-03-01'"),
        ("arrived > TIMESTAMP '2020-03-01 10:00:00+02'", "\"arrived\" > TIMESTAMP '2020-03-01T08:00:00+00:00'"),
        ("arrived > '2020-03-01'", "\"arrived\" > TIMESTAMP '2020-03-01T00:00:00+00:00'"),
        ("arrived > DATE '2020-03-01'", "\"arrived\" > TIMESTAMP '2020-03-01T00:00:00+00:00'"),
        ("age < score", '"age" < "score"'),
        ("ward <> surname", '"ward" <> "surname"'),
        ("seen = born", '"seen" = "born"'),
        ("age = 1 AND score = 2 AND urgent", '("age" = 1) AND ("score" = 2) AND ("urgent" = TRUE)'),
        ("age = 1 OR score = 2 AND urgent", '("age" = 1) OR (("score" = 2) AND ("urgent" = TRUE))'),
        ("((age = 1))", '"age" = 1'),
    ],
)
def test_a_condition_has_one_spelling(condition, expected):
    assert where_of(condition) == expected


def test_a_chain_of_thousands_of_conditions_is_read_without_recursion():
    assert where_of(" OR ".join(["age = 1"] * 2400)).count("OR") == 2399


@pytest.mark.parametrize(
    "hostile",
    [
        "'; DROP TABLE block; --",
        "\\'; SELECT 1",
        "'' OR ''1''=''1",
        "%s{}$1?:x",
        "a\nb\tc",
        "💣'\"`",
        "\\",
        "'" * 7,
        "\u202e",
    ],
)
def test_no_literal_can_leave_its_quotes(hostile):
    plan = plan_of("SELECT COUNT(*) FROM visits WHERE surname = '" + hostile.replace("'", "''") + "'")
    found = duckdb.sql("SELECT ? AS x", params=[hostile]).fetchall()
    literal = plan.block_sql.partition('block."surname" = ')[2].removesuffix(" GROUP BY 1 ORDER BY 1")
    assert duckdb.sql(f"SELECT {literal}").fetchall() == found


def test_every_accepted_condition_runs_in_duckdb(tmp_path):
    path = write_block(tmp_path / "0.parquet", some_rows(50, 3))
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW block AS SELECT * FROM read_parquet('{path}')")
    for mark in test_a_condition_has_one_spelling.pytestmark[0].args[1]:
        connection.execute(
            plan_of(f"SELECT ward, AVG(cost), SUM(score) FROM visits WHERE {mark[0]} GROUP BY ward").block_sql
        )
        connection.fetchall()
