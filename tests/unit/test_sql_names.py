"""Which names a query may use, and what each means: case, aliases, USING, outer queries, the unit, the nearest spelling."""

from __future__ import annotations

import pytest

from privacy.sql.algebra import UNIT
from privacy.sql.asked import Asked
from tests.unit.clinic_catalogue import accepted, refusal


def counted(expression: str, rest: str) -> str:
    """Which column of the grouped relation an expression means."""
    grouping = accepted(f"SELECT COUNT({expression}) FROM {rest}").grouping
    (asked,) = grouping.values
    assert isinstance(asked, Asked)
    field = grouping.source.columns[asked.argument.index]
    return f"{asked.argument.index} {field.name}"


MEANINGS = [
    ("score", "visits", "5 score"),
    ("SCORE", "visits", "5 score"),
    ('"Score"', "visits", "5 score"),
    ("visits.score", "visits", "5 score"),
    ("v.score", "visits v", "5 score"),
    ("V.score", "visits AS v", "5 score"),
    ("c", "visits AS v(a, b, c)", "2 ward"),
    ("patient", "visits AS v(x, patient)", None),
    ("b.score", "visits a JOIN visits b ON a.visit = b.visit", "15 score"),
    ("visit", "visits JOIN drugs USING (visit)", "5 visit"),
    ("weight", "visits JOIN people ON patient = person", "13 weight"),
    ("x.n", "(SELECT patient, COUNT(*) AS n FROM visits GROUP BY patient) x", "1 n"),
    ("m", "(SELECT patient, COUNT(*) AS n FROM visits GROUP BY patient) x(u, m)", "1 n"),
]


@pytest.mark.parametrize(("expression", "rest", "meaning"), MEANINGS)
def test_a_name_means_a_column(expression, rest, meaning):
    if meaning is None:
        assert refusal(f"SELECT COUNT(^{expression}) FROM {rest}").code == "sql.unit_column"
    else:
        assert counted(expression, rest) == meaning


REFUSED = [
    ("SELECT ^wrad, COUNT(*) FROM visits GROUP BY 1", "sql.unknown_column", "visits has no column wrad", "did you mean ward?"),
    ("SELECT COUNT(^qqq) FROM visits", "sql.unknown_column", "visits has no column qqq", "the columns are visit, patient"),
    ("SELECT COUNT(v.^qqq) FROM visits v, people p WHERE patient = person", "sql.unknown_column", "v has no column qqq", "the columns are"),
    ("SELECT COUNT(^qqq) FROM visits, people WHERE patient = person", "sql.unknown_column", "the query has no column", "the columns are"),
    ("SELECT COUNT(^visits.age) FROM visits v", "sql.unknown_table", "no table visits here", "the tables are v"),
    ("SELECT COUNT(^town) FROM people p, visits v, wards w WHERE person = patient AND ward = name", "sql.unknown_column", "several tables", "p.town, w.town"),
    ("SELECT COUNT(^visit) FROM visits v JOIN drugs d ON v.visit = d.visit", "sql.unknown_column", "several tables", "v.visit, d.visit"),
    ("SELECT COUNT(^db.v.age) FROM visits v", "sql.not_allowed", "more than two parts", "the columns are"),
    ("SELECT COUNT(*) FROM visits WHERE ^patient = 'x'", "sql.unit_column", "names the unit", "COUNT(DISTINCT patient)"),
    ("SELECT COUNT(*) FROM visits WHERE ^patient IS NULL", "sql.unit_column", "names the unit", "COUNT(DISTINCT patient)"),
    ("SELECT COUNT(*) FROM visits WHERE ^patient = note", "sql.unit_column", "names the unit", "COUNT(DISTINCT patient)"),
    ("SELECT COUNT(*) FROM visits JOIN people ON ^patient > person", "sql.unit_column", "names the unit", "COUNT(DISTINCT patient)"),
    ("SELECT COUNT(*) FROM (SELECT patient AS p FROM visits) x WHERE ^p = 'a'", "sql.unit_column", "p names the unit", "COUNT(DISTINCT p)"),
    ("SELECT LEFT(^patient, 2), COUNT(*) FROM visits GROUP BY 1", "sql.unit_column", "names the unit", "COUNT(DISTINCT patient)"),
    ("SELECT ^patient, COUNT(*) FROM visits", "sql.unit_column", "selecting patient", "COUNT(DISTINCT patient)"),
    ("SELECT COUNT(^patient) FROM visits", "sql.unit_column", "names the unit", "COUNT(DISTINCT patient)"),
    ("SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM drugs d WHERE d.visit = ^x.visit)", "sql.unknown_table", "no table x", "the tables are d, v"),
    ("SELECT COUNT(*) FROM visits WHERE ^\N{KELVIN SIGN} = 1", "sql.unknown_column", "no column", "the columns are"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "code", "reason", "way_out"), REFUSED)
def test_it_is_refused_where_it_stands(sql, code, reason, way_out):
    found = refusal(sql)
    assert found.code == code
    assert reason in found.text
    assert way_out in found.way_out


def test_a_name_inside_hides_one_outside():
    sql = "SELECT COUNT(*) FROM visits v WHERE EXISTS (SELECT * FROM visits u WHERE u.patient = v.patient AND age > 3)"
    summary = accepted(sql).grouping.source.source.other
    assert summary.source.columns[summary.source.condition.args[0].index].name == "age"


def test_a_name_that_is_not_inside_is_looked_for_outside():
    sql = "SELECT COUNT(*) FROM visits WHERE EXISTS (SELECT * FROM drugs WHERE holder = patient AND doses > score)"
    found = accepted(sql).grouping.source
    outer = found.condition.args[0].args[1]
    assert found.columns[outer.index].name == "score"


def test_joined_tables_have_one_unit_whichever_names_it():
    sql = "SELECT COUNT(DISTINCT u) FROM visits AS a(x, u) JOIN visits AS b(x, u) ON a.x = b.x"
    grouping = accepted(sql).grouping
    assert grouping.values[0].argument is None
    assert grouping.source.columns[UNIT].name == "patient"
