"""What is checked means what the text says: the rows of the tree, grouped exactly, are DuckDB's answer to the text, and they are local."""

from __future__ import annotations

from collections import Counter

import duckdb
import pytest

from privacy.sql.held import held, shown
from privacy.sql.postprocess import post_processing
from tests.unit.clinic_catalogue import UNITS, accepted, in_duckdb, some_tables
from tests.unit.relation_rows import cells_of, comparable, of_one, rows_of, units_in, without

SEEDS = range(6)
ASKED = "COUNT(*), COUNT(score), SUM(cost), COUNT(DISTINCT patient)"
TEXTS = [
    f"SELECT ward, {ASKED} FROM visits GROUP BY ward",
    f"SELECT {ASKED} FROM visits WHERE score > 3 OR cost < 20",
    f"SELECT {ASKED} FROM visits WHERE NOT (score > 3 OR urgent) AND note IS NOT NULL",
    f"SELECT {ASKED} FROM visits WHERE seen >= DATE '2020-01-15' + INTERVAL 1 MONTH AND seen < '2020-03-20'",
    f"SELECT {ASKED} FROM visits WHERE score BETWEEN -1 AND 5 AND ward IN ('north', 'it''s') AND note LIKE '%s%'",
    f"SELECT {ASKED} FROM visits WHERE urgent IS TRUE OR outcome IS NOT DISTINCT FROM note",
    "SELECT outcome, urgent, COUNT(*), SUM(score) FROM visits GROUP BY ROLLUP (outcome, urgent)",
    "SELECT outcome, ward, COUNT(*), SUM(score) FROM visits GROUP BY CUBE (outcome, ward)",
    "SELECT outcome, ward, COUNT(*) FROM visits GROUP BY GROUPING SETS ((outcome), (ward, outcome))",
    "SELECT EXTRACT(month FROM seen) AS m, COUNT(*) FROM visits GROUP BY m",
    "SELECT CASE WHEN age < 18 THEN 'child' WHEN age > 99 THEN NULL ELSE 'adult' END AS who, COUNT(*) FROM visits GROUP BY who",
    "SELECT COUNT(*) FILTER (WHERE age > 3), SUM(score) FILTER (WHERE urgent) FROM visits",
    "SELECT SUM(score * 2 - age), SUM(CASE WHEN urgent THEN cost ELSE 1 END), COUNT(NULLIF(age, 3)) FROM visits",
    "SELECT COUNT(*), SUM(weight), COUNT(town) FROM visits JOIN people ON patient = person",
    "SELECT COUNT(*), SUM(weight), COUNT(town) FROM visits LEFT JOIN people ON patient = person AND weight > 80",
    "SELECT town, COUNT(*) FROM visits v LEFT JOIN people p ON v.patient = p.person WHERE p.weight IS NULL GROUP BY town",
    "SELECT COUNT(*), COUNT(visit) FROM people LEFT JOIN visits ON patient = person",
    "SELECT COUNT(*), COUNT(visit), SUM(age) FROM people LEFT JOIN visits ON patient = person AND ward <> 'north'",
    "SELECT COUNT(*), COUNT(v.visit), SUM(doses) FROM people LEFT JOIN visits v ON patient = person LEFT JOIN drugs d ON d.visit = v.visit",
    "SELECT COUNT(*), COUNT(visit) FROM people LEFT JOIN visits ON patient = person AND age = 3",
    "SELECT COUNT(*), SUM(beds) FROM visits LEFT JOIN wards ON name = 'north'",
    "SELECT COUNT(*), SUM(price) FROM visits LEFT JOIN prices ON drug = note AND year = 2020",
    "SELECT COUNT(*), SUM(price) FROM visits JOIN prices ON drug = note WHERE year = 2019",
    "SELECT COUNT(*), SUM(doses) FROM visits v JOIN drugs d ON v.visit = d.visit WHERE v.note = d.drug",
    "SELECT COUNT(*), SUM(doses), SUM(weight) FROM people, visits v, drugs d WHERE v.visit = d.visit AND person = patient",
    "SELECT COUNT(*), SUM(doses) FROM visits JOIN drugs USING (visit) WHERE visit > 2",
    (
        "SELECT COUNT(*), SUM(m) FROM visits JOIN drugs USING (visit)"
        " JOIN (SELECT visit, MAX(doses) AS m FROM drugs GROUP BY visit) z USING (visit)"
    ),
    "SELECT beds, COUNT(*) FROM visits JOIN wards ON ward = name GROUP BY beds",
    "SELECT beds, COUNT(*) FROM visits LEFT JOIN wards ON ward = name AND beds > 2 GROUP BY beds",
    (
        "SELECT COUNT(*), SUM(price * doses) FROM drugs d JOIN visits v ON d.visit = v.visit"
        " JOIN prices p ON p.drug = d.drug AND p.year = EXTRACT(year FROM seen)"
    ),
    "SELECT COUNT(*) FROM visits LEFT JOIN wards ON ward = name JOIN (VALUES (1, 'few'), (2, 'few'), (3, 'many')) AS s(n, size) ON beds = n",
    "SELECT COUNT(*), SUM(beds) FROM visits, wards WHERE (ward = name AND age > 3) OR (ward = name AND score > 3)",
    "SELECT COUNT(*), SUM(beds) FROM visits, wards WHERE (ward = name AND age > 3) OR ward = name",
    (
        "WITH w AS (SELECT name, beds * 2 AS twice FROM wards), v AS (SELECT * FROM visits WHERE age > 1)"
        " SELECT twice, COUNT(*), SUM(score) FROM v JOIN w ON ward = name GROUP BY twice"
    ),
    "SELECT COUNT(*), SUM(n) FROM (SELECT visit, age AS n FROM visits UNION ALL SELECT visit, doses FROM drugs) x",
    "SELECT n, COUNT(*) FROM (SELECT patient, COUNT(*) AS n FROM visits GROUP BY patient) x GROUP BY n",
    "SELECT n, m, COUNT(*) FROM (SELECT patient, ward, SUM(score) AS n, MAX(note) AS m FROM visits GROUP BY patient, ward HAVING COUNT(*) > 1) x GROUP BY n, m",
    "SELECT COUNT(*), SUM(n) FROM (SELECT visit, SUM(doses) + MIN(doses) AS n FROM drugs GROUP BY visit) x",
    "SELECT COUNT(*) FROM (SELECT DISTINCT patient, ward FROM visits) x",
    "SELECT k, COUNT(*) FROM people LEFT JOIN (SELECT patient, COUNT(DISTINCT ward) AS k FROM visits GROUP BY patient) v ON patient = person GROUP BY k",
    "SELECT COUNT(*) FROM visits JOIN (SELECT town, SUM(beds) AS b FROM wards GROUP BY town) t ON note = t.town WHERE b > 4",
    "SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit)",
    "SELECT COUNT(*) FROM visits v WHERE NOT EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit AND doses > 2)",
    "SELECT COUNT(*) FROM people WHERE NOT EXISTS (SELECT * FROM visits WHERE patient = person AND urgent)",
    *(
        f"SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM visits u WHERE u.patient = v.patient AND u.score {sign} v.score)"
        for sign in ("<>", "<", "<=", ">", ">=")
    ),
    *(
        f"SELECT COUNT(*) FROM visits v WHERE NOT EXISTS (SELECT * FROM visits u WHERE u.patient = v.patient AND v.note {sign} u.note)"
        for sign in ("<>", "<", "<=", ">", ">=")
    ),
    "SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM wards WHERE name = ward AND age > 1 AND beds > score)",
    "SELECT COUNT(*) FROM visits v WHERE NOT EXISTS (SELECT * FROM wards WHERE name = ward AND v.score > 1)",
    "SELECT COUNT(*) FROM visits WHERE EXISTS (SELECT * FROM wards WHERE beds > 4)",
    "SELECT COUNT(*) FROM visits WHERE visit IN (SELECT visit FROM drugs WHERE doses > 1)",
    "SELECT COUNT(*) FROM visits WHERE visit NOT IN (SELECT visit FROM drugs WHERE doses > 1)",
    "SELECT COUNT(*) FROM visits WHERE patient IN (SELECT person FROM people WHERE weight > 80) OR age = 3",
    "SELECT COUNT(*) FROM visits WHERE score IN (SELECT beds FROM wards) OR age = 3",
    "SELECT COUNT(*) FROM visits WHERE visit IN (SELECT visit FROM drugs GROUP BY visit HAVING SUM(doses) > 3)",
    "SELECT COUNT(*) FROM visits WHERE age > (SELECT AVG(beds) FROM wards)",
    "SELECT COUNT(*) FROM visits WHERE age > (SELECT SUM(beds) FROM wards WHERE beds > 4)",
    "SELECT COUNT(*) FROM visits WHERE 2 > (SELECT COUNT(*) FROM wards WHERE beds > 3)",
    "SELECT COUNT(*) FROM visits WHERE age > (SELECT beds FROM wards WHERE name = ward)",
    "SELECT COUNT(*) FROM visits v WHERE score > (SELECT AVG(score) FROM visits u WHERE u.patient = v.patient)",
    "SELECT COUNT(*) FROM visits v WHERE (SELECT COUNT(*) FROM drugs d WHERE d.visit = v.visit) < 2",
    "SELECT COUNT(*) FROM visits v WHERE (SELECT 2 * SUM(doses) - COUNT(*) FROM drugs d WHERE d.visit = v.visit AND line > 1) < 4",
    "SELECT COUNT(*) FROM visits WHERE (SELECT weight FROM people WHERE person = patient) > 75",
    (
        "SELECT COUNT(*) FROM people p WHERE EXISTS (SELECT * FROM visits v WHERE v.patient = p.person"
        " AND EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit AND d.doses > v.age))"
    ),
]


@pytest.fixture(scope="module")
def database():
    with duckdb.connect() as connection:
        for seed in SEEDS:
            connection.execute(f"CREATE SCHEMA s{seed}; USE s{seed}")
            in_duckdb(connection, some_tables(seed))
        yield connection


@pytest.mark.parametrize("sql", TEXTS)
def test_the_tree_means_what_the_text_says(sql, database):
    grouping = accepted(sql).grouping
    for seed in SEEDS:
        database.execute(f"USE s{seed}")
        mine = comparable(cells_of(grouping, some_tables(seed)))
        assert mine == comparable(database.execute(sql).fetchall()), f"seed {seed}"


@pytest.mark.parametrize("sql", TEXTS)
def test_the_rows_of_a_unit_are_a_function_of_its_own(sql):
    source = accepted(sql).grouping.source
    for seed in (1, 2):
        tables = some_tables(seed)
        whole = Counter(rows_of(source, tables))
        parts = Counter()
        for unit in units_in(tables, UNITS):
            own = Counter(rows_of(source, of_one(tables, UNITS, unit)))
            assert {row[0] for row in own} <= {unit}
            assert whole - Counter(rows_of(source, without(tables, UNITS, unit))) == own
            parts += own
        assert whole == parts


BY_MONTH = "SELECT EXTRACT(month FROM seen) AS m, COUNT(*) AS n, COUNT(score) AS k"
ANSWERS = [
    f"{BY_MONTH} FROM visits GROUP BY m HAVING COUNT(*) > 1 AND m <> 2 ORDER BY n DESC, m",
    f"{BY_MONTH} FROM visits GROUP BY m ORDER BY k, m DESC LIMIT 2 OFFSET 1",
    f"{BY_MONTH}, n - k AS missing, 2 * n + 1 AS odd FROM visits GROUP BY m HAVING missing >= 0 ORDER BY missing, m",
    f"{BY_MONTH}, CASE WHEN n > 2 THEN 'many' ELSE 'few' END AS size FROM visits GROUP BY m ORDER BY size, m",
    f"{BY_MONTH}, ROW_NUMBER() OVER (ORDER BY COUNT(*), m) AS place FROM visits GROUP BY m ORDER BY place DESC",
    f"{BY_MONTH}, RANK() OVER (ORDER BY n DESC), DENSE_RANK() OVER (ORDER BY n) FROM visits GROUP BY m ORDER BY m",
    f"{BY_MONTH}, LAG(n) OVER (ORDER BY m), LEAD(n, 2) OVER (ORDER BY m DESC) FROM visits GROUP BY m ORDER BY m",
    f"{BY_MONTH}, SUM(n) OVER (ORDER BY m), SUM(n) OVER (), MAX(n) OVER (PARTITION BY k) FROM visits GROUP BY m ORDER BY m",
    f"{BY_MONTH}, SUM(n) OVER (ORDER BY m ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM visits GROUP BY m ORDER BY m",
    f"{BY_MONTH}, MIN(n) OVER (ORDER BY m ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING) FROM visits GROUP BY m ORDER BY m",
    f"{BY_MONTH}, COUNT(*) OVER (ORDER BY m ROWS UNBOUNDED PRECEDING) FROM visits GROUP BY m ORDER BY m",
    f"{BY_MONTH} FROM visits GROUP BY m ORDER BY LAG(n) OVER (ORDER BY m) NULLS FIRST, m",
    (
        "SELECT outcome, ward, COUNT(*) AS n FROM visits GROUP BY CUBE (outcome, ward)"
        " ORDER BY outcome NULLS FIRST, ward DESC, n LIMIT 20"
    ),
    "SELECT COALESCE(outcome, '-') || '/' || ward AS place, COUNT(*) FROM visits GROUP BY outcome, ward ORDER BY place",
]


@pytest.mark.parametrize("sql", ANSWERS)
def test_what_is_made_of_the_groups_is_what_the_text_says(sql, database):
    answer = accepted(sql)
    post = post_processing(answer)
    for seed in SEEDS:
        database.execute(f"USE s{seed}")
        rows = [
            tuple(held(value, facts.kind, facts.scale) for value, facts in zip(row, post.columns, strict=True))
            for row in cells_of(answer.grouping, some_tables(seed))
        ]
        mine = [
            tuple(shown(value, facts.kind, facts.scale) for value, facts in zip(row, post.output_facts, strict=True))
            for row in post.shown(rows).rows
        ]
        assert mine == database.execute(sql).fetchall(), f"seed {seed}"
