"""The canonical text can be asked again and is then itself; respelled queries have one text, and different ones have two."""

from __future__ import annotations

import pytest

from privacy.sql.canonical import canonical_text
from privacy.sql.canonical_expression import written
from privacy.sql.checked import checked
from privacy.sql.functions import FUNCTIONS
from tests.unit.clinic_catalogue import CLINIC, accepted
from tests.unit.test_sql_checked import VERDICTS
from tests.unit.test_sql_expressions import READ, read
from tests.unit.test_sql_meaning import ANSWERS, TEXTS
from tests.unit.tpch_catalogue import TPCH
from tests.unit.tpch_queries import QUERIES


def canonical(sql, catalogue=CLINIC):
    return canonical_text(checked(sql, catalogue).answer)


@pytest.mark.parametrize("number", sorted(QUERIES.keys() - VERDICTS.keys()))
def test_tpch_in_its_canonical_spelling_is_the_same_query(number):
    text = canonical(QUERIES[number], TPCH)
    assert canonical(text, TPCH) == text


# The summary of a subquery that is compared with nothing has a constant as its key, by which no text can group.
ALONE = [sql for sql in TEXTS if "GROUP BY 1)" in canonical(sql)]


@pytest.mark.parametrize("sql", [sql for sql in TEXTS + ANSWERS if sql not in ALONE])
def test_the_canonical_spelling_is_the_same_query(sql):
    text = canonical(sql)
    assert canonical(text) == text


def test_few_are_left_out():
    assert len(ALONE) == 4
    assert all("FROM wards" in sql for sql in ALONE)


NAMES = ["person", "x", "y", "s", "d", "t", "b", "c"]


@pytest.mark.parametrize("words", sorted({words for words, _ in READ} | {each.example for each in FUNCTIONS.values()}))
def test_an_expression_is_read_back(words):
    text = written(read(words), NAMES)
    assert written(read(text), NAMES) == text


SAME = [
    (
        "SELECT ward, COUNT(*) AS n FROM visits WHERE age > 3 AND score = 1 GROUP BY ward ORDER BY n",
        "select v.WARD, count(*) n from visits as v where (1 = (score)) and 3 < age group by 1 order by 2 -- comment",
        'SELECT "ward", COUNT(*) AS n FROM "clinic/visits" WHERE score = 1.0 AND age > 1 + 2 GROUP BY ward ORDER BY COUNT(*)',
    ),
    (
        "SELECT COUNT(*) AS n FROM visits JOIN people ON patient = person WHERE weight > 80",
        "SELECT COUNT(*) AS n FROM visits, people WHERE weight > 80.0 AND person = patient",
        "SELECT COUNT(*) AS n FROM visits v INNER JOIN people p ON p.weight > 80 AND p.person = v.patient",
    ),
    (
        "SELECT SUM(score) AS n FROM visits WHERE seen BETWEEN '2020-02-01' AND '2020-02-29'",
        "SELECT SUM(score) AS n FROM visits WHERE seen >= DATE '2020-01-01' + INTERVAL 1 MONTH AND seen <= CAST('2020-02-29' AS DATE)",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE ward IN ('south', 'north', 'south')",
        "SELECT COUNT(*) AS n FROM visits WHERE ward IN ('north', 'south')",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits v WHERE EXISTS (SELECT * FROM drugs d WHERE d.visit = v.visit AND doses > 1)",
        "SELECT COUNT(*) AS n FROM visits v WHERE EXISTS (SELECT 1 FROM drugs WHERE 1 < doses AND v.visit = visit)",
        "SELECT COUNT(*) AS n FROM visits WHERE visit IN (SELECT visit FROM drugs WHERE doses > 1)",
    ),
    (
        "SELECT n, COUNT(*) AS m FROM (SELECT patient, COUNT(*) AS n FROM visits GROUP BY patient) x GROUP BY n",
        "WITH a AS (SELECT COUNT(*) AS k, patient FROM visits GROUP BY patient) SELECT k AS n, COUNT(*) AS m FROM a GROUP BY k",
    ),
    (
        "SELECT ward, outcome, COUNT(*) AS n FROM visits GROUP BY ROLLUP (ward, outcome)",
        "SELECT ward, outcome, COUNT(*) AS n FROM visits GROUP BY GROUPING SETS ((ward, outcome), (ward), ())",
    ),
    (
        "SELECT COUNT_IF(urgent) AS n FROM visits",
        "SELECT COUNT(*) FILTER (WHERE urgent) AS n FROM visits",
    ),
    (
        "SELECT MEDIAN(cost) AS n FROM visits ORDER BY 1",
        "SELECT PERCENTILE_CONT(0.50) WITHIN GROUP (ORDER BY cost) AS n FROM visits ORDER BY n",
    ),
]


@pytest.mark.parametrize("texts", SAME)
def test_respelled_queries_have_one_text(texts):
    assert len({canonical(sql) for sql in texts}) == 1


DIFFERENT = [
    "SELECT COUNT(*) AS n FROM visits",
    "SELECT COUNT(*) AS m FROM visits",
    "SELECT COUNT(*) AS n FROM drugs",
    "SELECT COUNT(score) AS n FROM visits",
    "SELECT COUNT(DISTINCT score) AS n FROM visits",
    "SELECT COUNT(DISTINCT patient) AS n FROM visits",
    "SELECT COUNT(*) AS n FROM visits WHERE age > 3",
    "SELECT COUNT(*) AS n FROM visits WHERE age >= 3",
    "SELECT COUNT(*) AS n FROM visits WHERE age > score",
    "SELECT COUNT(*) AS n FROM visits WHERE age < score",
    "SELECT COUNT(*) AS n FROM visits WHERE note = 'TRUE'",
    "SELECT COUNT(*) AS n FROM visits WHERE urgent = TRUE",
    "SELECT COUNT(*) FILTER (WHERE age > 3) AS n FROM visits",
    "SELECT COUNT(*) AS n FROM visits LEFT JOIN people ON patient = person",
    "SELECT COUNT(*) AS n FROM visits JOIN people ON patient = person",
    "SELECT COUNT(*) AS n FROM visits LEFT JOIN people ON patient = person AND weight > 80",
    "SELECT COUNT(*) AS n FROM visits LEFT JOIN people ON patient = person WHERE weight > 80",
    "SELECT COUNT(*) AS n FROM visits a JOIN visits b ON a.visit = b.visit",
    "SELECT QUANTILE(cost, 0.1) AS n FROM visits",
    "SELECT QUANTILE(cost, 0.01) AS n FROM visits",
    "SELECT COUNT(*) AS n FROM visits LIMIT 1",
    "SELECT COUNT(*) AS n FROM visits OFFSET 1",
    "SELECT COUNT(*) AS n FROM visits HAVING COUNT(*) > 1",
    "SELECT COUNT(*) AS n FROM visits ORDER BY n",
    "SELECT COUNT(*) AS n FROM visits ORDER BY n DESC",
    "SELECT COUNT(*) AS n FROM visits ORDER BY n NULLS FIRST",
    "SELECT ward, COUNT(*) AS n FROM visits GROUP BY ward",
    "SELECT ward, COUNT(*) AS n FROM visits GROUP BY ROLLUP (ward)",
]


def test_different_queries_have_different_texts():
    assert len({canonical(sql) for sql in DIFFERENT}) == len(DIFFERENT)


HOSTILE = ['a"; DROP TABLE x; --', "a' OR '1'='1", "a\\", "--", "/*", "SELECT"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_a_name_and_a_text_a_text(name):
    quoted, text = '"' + name.replace('"', '""') + '"', "'" + name.replace("'", "''") + "'"
    sql = f"SELECT COUNT(*) AS {quoted} FROM visits AS {quoted} WHERE note = {text}"
    found = canonical(sql)
    assert canonical(found) == found
    assert accepted(found).outputs[0].name == name
    assert found.count(quoted) == 1  # what a table is called in the text is not in it
